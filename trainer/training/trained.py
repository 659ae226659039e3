"""A finished or interrupted run as Python sees it: its history, its checkpoints, and pictures that notebooks show."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from runtime.images.png import to_pillow
from trainer.checkpoint import Checkpoint, EpochMetrics, load_checkpoint
from trainer.pictures import preview
from trainer.training.console import EPOCH_HEAD, epoch_line
from trainer.training.run_folder import Run

if TYPE_CHECKING:
    from PIL.Image import Image


class History(Sequence[EpochMetrics]):
    """The epochs of a run, one `EpochMetrics` each; prints as a table, and `pandas.DataFrame` takes it."""

    def __init__(self, epochs: Sequence[EpochMetrics]) -> None:
        self._epochs = tuple(epochs)

    def __len__(self) -> int:
        return len(self._epochs)

    @overload
    def __getitem__(self, index: int) -> EpochMetrics: ...
    @overload
    def __getitem__(self, index: slice) -> History: ...
    def __getitem__(self, index: int | slice) -> EpochMetrics | History:
        return History(self._epochs[index]) if isinstance(index, slice) else self._epochs[index]

    def __repr__(self) -> str:
        return "\n".join([EPOCH_HEAD, *map(epoch_line, self._epochs)])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in EPOCH_HEAD.split("  ") if name.strip())
        rows = (
            "".join(f"<td>{value}</td>" for value in epoch_line(metrics).split()) for metrics in self._epochs
        )  # fmt: skip
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


@dataclass(frozen=True)
class TrainedRun:
    """What `train` returns: the run in `folder`, which `vae-train --resume` continues and `vae-export` exports."""

    run: Run

    @property
    def folder(self) -> Path:
        """The folder with checkpoints, history, configuration and pictures."""
        return self.run.folder

    @property
    def best(self) -> Checkpoint:
        """The checkpoint of the epoch with the lowest test loss."""
        return load_checkpoint(self.run.best)

    @property
    def last(self) -> Checkpoint:
        """The checkpoint of the newest epoch."""
        return load_checkpoint(self.run.last)

    @property
    def history(self) -> History:
        """Losses and other figures of all epochs."""
        return History(self.last.history)

    def show(self) -> Image:
        """Test images, their reconstructions and samples by the best epoch, as a Pillow image."""
        best = self.best
        return to_pillow(preview(best.build_model(), best.reference_images.numpy(), best.prior))

    def __repr__(self) -> str:
        history = self.last.history
        best = min(history, key=lambda metrics: metrics.test_loss)
        return f"<run {self.folder}: {len(history)} epochs, best {best.epoch} with test loss {best.test_loss:.2f}>"

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.show().save(png, format="PNG")
        return png.getvalue()
