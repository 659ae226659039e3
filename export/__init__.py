"""Turn a trained VAE into graphs that run anywhere, and publish them only when they prove to be that VAE.

The names below are loaded when they are first used, so that `vae-export --help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.bundle import export_bundle
    from export.errors import ExportError, ParityError

__all__ = ["ExportError", "ParityError", "export_bundle"]

_ROOMS = {"ExportError": "errors", "ParityError": "errors", "export_bundle": "bundle"}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'export' has no attribute {name!r}")
    return getattr(import_module(f"export.{_ROOMS[name]}"), name)
