"""TensorBoard events of a run, where the package is installed."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from trainer.checkpoint import EpochMetrics
from trainer.errors import SettingsError


class Events:
    """Writes each epoch's numbers, under their names in the history, into `folder/tensorboard`."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def add(self, metrics: EpochMetrics) -> None:
        """Add one epoch, and flush it."""
        for name, value in asdict(metrics).items():
            if isinstance(value, int | float) and name != "epoch":
                self.writer.add_scalar(name, value, metrics.epoch)
        for dimension, kl in enumerate(metrics.test_kl_per_dimension):
            self.writer.add_scalar(f"test_kl_per_dimension/{dimension}", kl, metrics.epoch)
        self.writer.flush()


def check_tensorboard() -> None:
    """Raises SettingsError where the package is missing."""
    if find_spec("tensorboard") is None:
        raise SettingsError("--tensorboard needs the package tensorboard: pip install tensorboard")
