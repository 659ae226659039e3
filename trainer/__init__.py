"""Train variational autoencoders in PyTorch and save checkpoints that can be exported and resumed.

The names below are loaded when they are first used, so that `vae-train --help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.bounds import Objective
    from trainer.checkpoint import Checkpoint, load_checkpoint
    from trainer.data import ImageData, load
    from trainer.evaluate import Score, evaluate
    from trainer.loop import fit
    from trainer.model import VAE, ModelConfig, build_model
    from trainer.run import Run
    from trainer.settings import PRESETS, Settings

_ROOMS = {
    "Objective": "bounds",
    "Checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "ImageData": "data",
    "load": "data",
    "Score": "evaluate",
    "evaluate": "evaluate",
    "fit": "loop",
    "VAE": "model",
    "ModelConfig": "model",
    "build_model": "model",
    "Run": "run",
    "PRESETS": "settings",
    "Settings": "settings",
}
__all__ = [  # noqa: RUF100, PLE0604
    "Objective",
    "Checkpoint",
    "load_checkpoint",
    "ImageData",
    "load",
    "Score",
    "evaluate",
    "fit",
    "VAE",
    "ModelConfig",
    "build_model",
    "Run",
    "PRESETS",
    "Settings",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'trainer' has no attribute {name!r}")
    return getattr(import_module(f"trainer.{_ROOMS[name]}"), name)
