"""The pictures of an evaluation: KL over epochs, ELBO by class, samples by predicted class, the latent manifold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from runtime.files.atomic import write_atomically
from runtime.images.sheet import grid
from trainer.checkpoint import Checkpoint, EpochMetrics
from trainer.evaluation.evaluate import Evaluation
from trainer.model.vae import VAE
from trainer.objective.active import ACTIVE_KL_NATS, count_active_by_kl
from trainer.pictures import as_label, image_grid, to_png, to_uint8, without_gray_axis

PICTURES = ("samples.png", "kl_over_epochs.png", "classes.png", "manifold.png")
"""Names of the files that `draw_evaluation` may write."""
_FLOOR_COLOUR, _EXCESS_COLOUR, _KL_COLOUR = "#d1d5db", "#c2410c", "#8aa1b8"
_PER_CLASS = 15  # samples shown per class
_MOST_CLASSES = 20
_MANIFOLD_SIDE = 20
_MANIFOLD_REACH = 2.0  # standard deviations of the prior


def draw_evaluation(found: Evaluation, checkpoint: Checkpoint, folder: Path) -> list[Path]:
    """Draw all pictures for which the evaluation has data into `folder`. Returns the files."""
    samples_name, kl_name, classes_name, manifold_name = PICTURES
    figures: dict[str, Figure] = {samples_name: generated(found)}
    if checkpoint.history[-1].test_kl_per_dimension:
        figures[kl_name] = kl_over_epochs(checkpoint.history)
    if next(iter(found.protocols.values())).elbo.by_class:
        figures[classes_name] = class_bars(found)
    if checkpoint.model_config.latent_dim == 2:
        figures[manifold_name] = manifold(checkpoint.build_model())
    for name, figure in figures.items():
        write_atomically(folder / name, to_png(figure))
    return [folder / name for name in figures]


def kl_over_epochs(history: Sequence[EpochMetrics]) -> Figure:
    """Heat map of the KL: latent dimensions, sorted by their KL in the last epoch, over epochs."""
    kl = np.array([metrics.test_kl_per_dimension for metrics in history])  # (E, L)
    order = np.argsort(-kl[-1], kind="stable")
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    first, last = history[0].epoch, history[-1].epoch
    image = axes.imshow(
        kl[:, order].T,
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
        vmin=0,
        extent=(first - 0.5, last + 0.5, kl.shape[1] - 0.5, -0.5),
    )
    figure.colorbar(image, label="KL, nats per test image")
    axes.set_xlabel("epoch")
    axes.set_ylabel("latent dimension, most used first")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    active = count_active_by_kl(history[-1].test_kl_per_dimension)
    axes.set_title(f"{active} of {kl.shape[1]} dimensions carry more than {ACTIVE_KL_NATS:g} nat after epoch {last}")
    return figure


def class_bars(found: Evaluation) -> Figure:
    """Stacked bars for each class: entropy floor, reconstruction error above it, and KL."""
    name, protocol = next(iter(found.protocols.items()))
    classes = protocol.elbo.by_class
    labels = [str(label) if found.class_names is None else as_label(found.class_names[label]) for label in classes]
    floor = np.array([terms.floor or 0.0 for terms in classes.values()])
    excess = np.array([terms.reconstruction for terms in classes.values()]) - floor
    kl = np.array([terms.kl for terms in classes.values()])
    figure = Figure(figsize=(max(6.0, 0.8 * len(labels)), 4), layout="constrained")
    axes = figure.subplots()
    positions = range(len(labels))
    axes.bar(positions, floor, color=_FLOOR_COLOUR, label="floor: entropy of the pixels, no model's fault")
    axes.bar(positions, excess, bottom=floor, color=_EXCESS_COLOUR, label="excess of the reconstruction")
    axes.bar(positions, kl, bottom=floor + excess, color=_KL_COLOUR, label="KL")
    axes.set_xticks(positions, labels, rotation=30 if max(map(len, labels)) > 4 else 0)
    axes.set_ylabel("nats per image")
    axes.set_ylim(0, 1.3 * float((floor + excess + kl).max()))  # room for the legend
    axes.set_title(f"Negative ELBO by class, {name} test images")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=3, fontsize=8, loc="upper center")
    return figure


def generated(found: Evaluation) -> Figure:
    """Samples, one row per predicted class, most confident first; without a classifier, in the order drawn."""
    pixels = to_uint8(found.samples)
    if found.seen_as is None:
        return image_grid(pixels[: _PER_CLASS * 10], _PER_CLASS)
    confidence, label = (values.numpy() for values in found.seen_as.max(1))
    rows = []
    for seen in range(min(found.seen_as.shape[1], _MOST_CLASSES)):
        members = np.flatnonzero(label == seen)
        members = members[np.argsort(-confidence[members], kind="stable")]
        spread = members[np.linspace(0, len(members) - 1, _PER_CLASS).astype(int)] if len(members) else members
        row = np.zeros((_PER_CLASS, *pixels.shape[1:]), np.uint8)
        row[: len(spread)] = pixels[spread]
        rows.append(row)
    figure = image_grid(np.concatenate(rows), _PER_CLASS)
    figure.suptitle("Samples by the class that a classifier sees in them: surest left, most doubtful right")
    return figure


@torch.no_grad()
def manifold(model: VAE) -> Figure:
    """The images of a grid over a two-dimensional latent space, from −2 to 2 standard deviations of the prior."""
    line = torch.linspace(-_MANIFOLD_REACH, _MANIFOLD_REACH, _MANIFOLD_SIDE)
    vertical, horizontal = torch.meshgrid(line.flip(0), line, indexing="ij")
    pixels = to_uint8(model.decode(torch.stack([horizontal, vertical], -1).view(-1, 2)))
    picture = grid(pixels, _MANIFOLD_SIDE, gap=0)
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    reach = (-_MANIFOLD_REACH, _MANIFOLD_REACH)
    axes.imshow(without_gray_axis(picture), cmap="gray", vmin=0, vmax=255, extent=(*reach, *reach))
    axes.set_xlabel("latent 0")
    axes.set_ylabel("latent 1")
    axes.set_title("What the decoder makes of each point of the latent plane")
    return figure
