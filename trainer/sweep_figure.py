"""The one picture of a sweep: losses, latents in use, and samples of every cell side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.evaluation.sample_quality import draw_samples
from trainer.plots import to_pixels
from trainer.run import Run
from trainer.sweep import Cell

_SAMPLES = 12  # of each cell


def draw_sweep(folder: Path, cells: Sequence[Cell]) -> Figure:
    """Charts on the left; on the right a row of samples for each cell, from the same latents where sizes agree."""
    checkpoints = [load_checkpoint(Run(folder / cell.name).best) for cell in cells]
    histories = [load_checkpoint(Run(folder / cell.name).last) for cell in cells]
    figure = Figure(figsize=(13, max(8.0, 0.62 * len(cells))), layout="constrained")
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=(1, 1.3)))
    charts = left.subplots(3, 1)
    _against_latents(charts[0], cells, [cell.nll for cell in cells], "NLL, nats per image")
    _against_latents(charts[1], cells, [float(cell.active_units) for cell in cells], "active latents")
    _loss_over_epochs(charts[2], cells, histories)
    charts[0].legend(frameon=False, fontsize=8)
    strips = np.atleast_1d(right.subplots(len(cells), 1))
    for axes, cell, checkpoint in zip(strips, cells, checkpoints, strict=True):
        pixels = to_pixels(draw_samples(checkpoint.build_model(), _SAMPLES, checkpoint.settings.seed))
        axes.imshow(np.concatenate(list(pixels), axis=1).squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_ylabel(_label(cell), rotation=0, ha="right", va="center", fontsize=8)
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


def _loss_over_epochs(axes: Axes, cells: Sequence[Cell], checkpoints: Sequence[Checkpoint]) -> None:
    for cell, checkpoint in zip(cells, checkpoints, strict=True):
        history = checkpoint.history
        axes.plot([row.epoch for row in history], [row.test_loss for row in history], label=_label(cell), linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("test loss, nats per image")
    axes.legend(frameon=False, fontsize=6, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)


def _label(cell: Cell) -> str:
    return f"{cell.latent_dim} latents, {cell.hidden}{', norm' if cell.batch_norm else ''}"
