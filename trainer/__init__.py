"""Train variational autoencoders in PyTorch and save checkpoints that can be exported and resumed.

The names below are imported when they are first used (see `runtime.lazy`).
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
    from trainer.checkpoint import Checkpoint, EpochMetrics, load_checkpoint
    from trainer.data.dataset import ImageData
    from trainer.data.load import load
    from trainer.errors import (
        CheckpointError,
        DataError,
        DownloadError,
        OutputError,
        SettingsError,
        TrainerError,
        TrainingError,
        TrainingInterruptedError,
    )
    from trainer.evaluation.evaluate import Evaluation, evaluate_checkpoint
    from trainer.model.vae import VAE, ModelConfig, build_model
    from trainer.objective.bound import Objective
    from trainer.objective.score import Score, evaluate
    from trainer.settings import PRESETS, Settings
    from trainer.training.api import train
    from trainer.training.execution import Execution
    from trainer.training.loop import fit
    from trainer.training.run_folder import Run
    from trainer.training.trained import History, TrainedRun

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "DataError",
    "DownloadError",
    "EpochMetrics",
    "Evaluation",
    "Execution",
    "History",
    "ImageData",
    "ModelConfig",
    "Objective",
    "OutputError",
    "PRESETS",
    "Run",
    "Score",
    "Settings",
    "SettingsError",
    "TrainedRun",
    "TrainerError",
    "TrainingError",
    "TrainingInterruptedError",
    "VAE",
    "build_model",
    "evaluate",
    "evaluate_checkpoint",
    "fit",
    "load",
    "load_checkpoint",
    "train",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "Checkpoint": "checkpoint",
        "CheckpointError": "errors",
        "DataError": "errors",
        "DownloadError": "errors",
        "EpochMetrics": "checkpoint",
        "Evaluation": "evaluation.evaluate",
        "Execution": "training.execution",
        "History": "training.trained",
        "ImageData": "data.dataset",
        "ModelConfig": "model.vae",
        "Objective": "objective.bound",
        "OutputError": "errors",
        "PRESETS": "settings",
        "Run": "training.run_folder",
        "Score": "objective.score",
        "Settings": "settings",
        "SettingsError": "errors",
        "TrainedRun": "training.trained",
        "TrainerError": "errors",
        "TrainingError": "errors",
        "TrainingInterruptedError": "errors",
        "VAE": "model.vae",
        "build_model": "model.vae",
        "evaluate": "objective.score",
        "evaluate_checkpoint": "evaluation.evaluate",
        "fit": "training.loop",
        "load": "data.load",
        "load_checkpoint": "checkpoint",
        "train": "training.api",
    },
)
