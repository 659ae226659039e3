"""TensorBoard events of a run; needs the optional package tensorboard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import OutputError
from runtime.extras import how_to_install
from trainer.checkpoint import EpochMetrics
from trainer.errors import SettingsError


class Events:
    """Writes each epoch's numbers and preview into `folder/tensorboard`: loss/train beside loss/test, and so on."""

    def __init__(self, folder: Path, history: Iterable[EpochMetrics] = ()) -> None:
        """history: the epochs of the run so far. They are written again and replace earlier events: a killed run may
        have saved an epoch without its events, and events may be requested only on resuming.

        Raises OutputError if the folder cannot be written.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder / "tensorboard"
        with self._writing():
            self.writer = SummaryWriter(str(self.folder), purge_step=1)
        for metrics in history:
            self.add(metrics)

    def add(self, metrics: EpochMetrics) -> None:
        """Add one epoch, and flush it. Raises OutputError if it cannot be written."""
        with self._writing():
            for name, value in asdict(metrics).items():
                if isinstance(value, int | float) and name != "epoch":
                    self.writer.add_scalar(_tag(name), value, metrics.epoch)
            for dimension, kl in enumerate(metrics.test_kl_per_dimension):
                self.writer.add_scalar(f"test_kl_per_dimension/{dimension}", kl, metrics.epoch)
            self.writer.flush()

    def add_preview(self, sheet: npt.NDArray[np.uint8], epoch: int) -> None:
        """Add a picture, uint8 (H, W, C). Raises OutputError if it cannot be written."""
        with self._writing():
            self.writer.add_image("preview", sheet, epoch, dataformats="HWC")
            self.writer.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"cannot write {self.folder}: {error.strerror or error}") from error


def _tag(name: str) -> str:
    """The name of a figure in the history as TensorBoard groups it: test_loss → loss/test."""
    split, _, term = name.partition("_")
    return f"{term}/{split}" if split in ("train", "test") else name


def check_tensorboard() -> None:
    """Raise SettingsError if the package is not installed."""
    if find_spec("tensorboard") is None:
        raise SettingsError(f"--tensorboard needs the package tensorboard; {how_to_install('tensorboard')}")
