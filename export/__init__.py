"""Export a trained VAE to graphs that run anywhere, published only if they match the model in every engine.

The names below are imported on first use (see `runtime.lazy`).
"""

from typing import TYPE_CHECKING

try:
    from runtime import VaeRuntimeError as _only_ours  # noqa: F401, N813  another package of that name lacks it
    from runtime.lazy import lazy_attributes
except ImportError as error:
    import runtime

    raise ImportError(
        f"the package `runtime` of vae-toolchain is hidden by {runtime.__file__ or next(iter(runtime.__path__))}; "
        "run Python from another folder, or rename that one"
    ) from error

if TYPE_CHECKING:
    from export.bundle.build import export_bundle
    from export.checks.parity import ParityMeasurement
    from export.errors import (
        ExportError,
        ModelError,
        NamesError,
        ParityError,
        ShapesError,
        TypesError,
        ValuesError,
    )
    from export.source.load import load_source
    from export.source.prune import PrunedSource, prune_latents
    from export.source.source import Source

__all__ = [
    "ExportError",
    "ModelError",
    "NamesError",
    "ParityError",
    "ParityMeasurement",
    "PrunedSource",
    "ShapesError",
    "Source",
    "TypesError",
    "ValuesError",
    "export_bundle",
    "load_source",
    "prune_latents",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "ExportError": "errors",
        "ModelError": "errors",
        "NamesError": "errors",
        "ParityError": "errors",
        "ParityMeasurement": "checks.parity",
        "PrunedSource": "source.prune",
        "ShapesError": "errors",
        "Source": "source.source",
        "TypesError": "errors",
        "ValuesError": "errors",
        "export_bundle": "bundle.build",
        "load_source": "source.load",
        "prune_latents": "source.prune",
    },
)
