"""Turn a trained VAE into graphs that run anywhere, and publish them only when they prove to be that VAE.

The names below are imported when they are first used (see `runtime.lazy`).
"""

from typing import TYPE_CHECKING

try:
    from runtime.lazy import lazy_attributes
except ImportError as error:
    import runtime

    raise ImportError(
        f"the package `runtime` of vae-toolchain is hidden by another one, {list(runtime.__path__)}; "
        "run Python from another folder, or rename that one"
    ) from error

if TYPE_CHECKING:
    from export.bundle.build import export_bundle
    from export.errors import ExportError, ModelError, ParityError
    from export.source.source import Source

__all__ = [
    "ExportError",
    "ModelError",
    "ParityError",
    "Source",
    "export_bundle",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "ExportError": "errors",
        "ModelError": "errors",
        "ParityError": "errors",
        "Source": "source.source",
        "export_bundle": "bundle.build",
    },
)
