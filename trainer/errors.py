"""The exceptions of the trainer. Every message is a sentence that says what is wrong and what to do."""

from runtime.errors import OutputError as OutputError  # raised by all that writes files; not a TrainerError


class TrainerError(Exception):
    """Base class of the errors that the trainer raises."""


class SettingsError(TrainerError, ValueError):
    """A setting is out of range, unknown, or impossible on this machine."""


class DataError(TrainerError):
    """A data set is missing, damaged, or not what the model can learn from."""


class CheckpointError(TrainerError):
    """A checkpoint is missing, damaged, or was not written by vae-train."""


class DownloadError(DataError):
    """A data set is not on disk and cannot be downloaded."""


class TrainingError(TrainerError):
    """Training cannot continue, for example after a loss that is not finite."""


class TrainingInterruptedError(TrainerError, KeyboardInterrupt):
    """Ctrl-C during training; the message says what is saved and how to resume."""
