"""What the trainer raises: one small tree, every message a sentence for whoever must fix it."""


class TrainerError(Exception):
    """Base of all errors that the trainer raises on purpose."""


class SettingsError(TrainerError, ValueError):
    """A setting is out of range, unknown, or impossible on this machine."""


class DataError(TrainerError):
    """A data set is missing, damaged, or not what the model can learn from."""


class CheckpointError(TrainerError):
    """A checkpoint is missing, damaged, or not one of ours."""


class DownloadError(DataError):
    """A data set is not on disk and cannot be downloaded."""


class TrainingError(TrainerError):
    """Training cannot go on."""
