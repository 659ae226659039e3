"""The picture of a sweep: losses, active latents, and samples of every cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import ColorType

from runtime.images.sheet import grid
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.evaluation.sample_quality import draw_samples
from trainer.pictures import to_uint8, without_gray_axis
from trainer.sweep.grid import Cell
from trainer.training.run_folder import Run

_IN_A_ROW, _MOST_ROWS = 12, 3  # samples per row, and rows per cell
_ROOM = 18  # total rows of samples, divided between the cells


def draw_sweep(folder: Path, cells: Sequence[Cell]) -> Figure:
    """Charts on the left, samples of each cell on the right; the cell's name has the colour of its loss curve."""
    runs = [Run(folder / cell.name) for cell in cells]
    rows = max(1, min(_MOST_ROWS, _ROOM // len(cells)))
    figure = Figure(figsize=(13, max(8.0, 0.5 * rows * len(cells))), layout="constrained")
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=(1, 1.3)))
    charts = left.subplots(3, 1)
    _against_latents(charts[0], cells, [cell.nll for cell in cells], "NLL, nats per image")
    _against_latents(charts[1], cells, [float(cell.active_units) for cell in cells], "active latents")
    colours = [colormaps["tab20"](i % 20) for i in range(len(cells))]
    _loss_over_epochs(charts[2], [load_checkpoint(run.last) for run in runs], colours)
    charts[0].legend(frameon=False, fontsize=8)
    strips = np.atleast_1d(right.subplots(len(cells), 1))
    for axes, cell, run, colour in zip(strips, cells, runs, colours, strict=True):
        checkpoint = load_checkpoint(run.best)
        samples = draw_samples(checkpoint.build_model(), checkpoint.prior, rows * _IN_A_ROW, checkpoint.settings.seed)
        pixels = to_uint8(samples)
        axes.imshow(without_gray_axis(grid(pixels, _IN_A_ROW, gap=0)), cmap="gray", vmin=0, vmax=255)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_ylabel(_label(cell), rotation=0, ha="right", va="center", fontsize=9, color=colour, weight="bold")
    right.suptitle("samples from the prior", fontsize=10)
    return figure


def _against_latents(axes: Axes, cells: Sequence[Cell], values: Sequence[float], name: str) -> None:
    families = list(dict.fromkeys((cell.hidden, cell.batch_norm) for cell in cells))
    for hidden, norm in families:
        points = [
            (cell.latent_dim, value)
            for cell, value in zip(cells, values, strict=True)
            if (cell.hidden, cell.batch_norm) == (hidden, norm)
        ]
        axes.plot(*zip(*points, strict=True), marker="o", label=f"{hidden}{', batch norm' if norm else ''}")
    axes.set_xscale("log", base=2)
    dims = sorted({cell.latent_dim for cell in cells})
    axes.set_xticks(dims, [str(dim) for dim in dims])
    axes.set_xlabel("latent dimensions")
    axes.set_ylabel(name)
    axes.spines[["top", "right"]].set_visible(False)


def _loss_over_epochs(axes: Axes, checkpoints: Sequence[Checkpoint], colours: Sequence[ColorType]) -> None:
    for checkpoint, colour in zip(checkpoints, colours, strict=True):
        history = checkpoint.history
        losses = [row.test_loss for row in history]
        axes.plot([row.epoch for row in history], losses, color=colour, marker="o" if len(losses) == 1 else None)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("test loss, nats per image")
    axes.spines[["top", "right"]].set_visible(False)


def _label(cell: Cell) -> str:
    return f"{cell.latent_dim} latents\n{cell.hidden}{', norm' if cell.batch_norm else ''}"
