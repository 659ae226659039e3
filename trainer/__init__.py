"""Train variational autoencoders in PyTorch and save checkpoints that can be exported and resumed.

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
    from trainer.checkpoint import Checkpoint, load_checkpoint
    from trainer.data.dataset import ImageData
    from trainer.data.load import load
    from trainer.errors import CheckpointError, DataError, DownloadError, SettingsError, TrainerError, TrainingError
    from trainer.model.vae import VAE, ModelConfig, build_model
    from trainer.objective.bound import Objective
    from trainer.objective.score import Score, evaluate
    from trainer.settings import PRESETS, Settings
    from trainer.training.loop import fit
    from trainer.training.run_folder import Run

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "DataError",
    "DownloadError",
    "ImageData",
    "ModelConfig",
    "Objective",
    "PRESETS",
    "Run",
    "Score",
    "Settings",
    "SettingsError",
    "TrainerError",
    "TrainingError",
    "VAE",
    "build_model",
    "evaluate",
    "fit",
    "load",
    "load_checkpoint",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "Checkpoint": "checkpoint",
        "CheckpointError": "errors",
        "DataError": "errors",
        "DownloadError": "errors",
        "ImageData": "data.dataset",
        "ModelConfig": "model.vae",
        "Objective": "objective.bound",
        "PRESETS": "settings",
        "Run": "training.run_folder",
        "Score": "objective.score",
        "Settings": "settings",
        "SettingsError": "errors",
        "TrainerError": "errors",
        "TrainingError": "errors",
        "VAE": "model.vae",
        "build_model": "model.vae",
        "evaluate": "objective.score",
        "fit": "training.loop",
        "load": "data.load",
        "load_checkpoint": "checkpoint",
    },
)
