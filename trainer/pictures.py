"""The pictures of a training run, drawn to PNG files without a window or global matplotlib state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from runtime.files.atomic import write_atomically
from runtime.images import pixels
from runtime.images.png import save_png
from runtime.images.sheet import grid
from runtime.prior import Prior, prior_latents
from runtime.text import printable
from trainer.checkpoint import Checkpoint, EpochMetrics
from trainer.data.dataset import ImageData
from trainer.data.pixels import to_float
from trainer.model.vae import VAE

_DPI = 150
_GAP = 1  # pixels between images
_TRAIN_COLOUR, _TEST_COLOUR, _FLOOR_COLOUR = "#8aa1b8", "#c2410c", "#9ca3af"
_SCATTER_IMAGES = 5000
_PREVIEW_COLUMNS = 8
_PREVIEW_SIDE = 96  # pixels at most to which small images are enlarged


def draw_run(checkpoint: Checkpoint, best: Checkpoint, data: ImageData, folder: Path) -> list[Path]:
    """Draw all pictures of a run into `folder`. Returns the files, in reading order.

    checkpoint: the newest state, whose history and latents are drawn. best: the state that will be exported, whose
    samples are drawn: those of seed 0 from its prior, as `vae-sample` draws them from the bundle.
    """
    model = checkpoint.build_model()
    files = {
        "training_curves.png": training_curves(checkpoint.history, checkpoint.data.entropy_floor),
        "reconstructions.png": reconstructions(model, data.test_images[:10]),
        "samples.png": samples(best),
        "latent_space.png": latent_space(model, data),
        "interpolation.png": interpolation(model, data),
    }
    for name, figure in files.items():
        write_atomically(folder / name, to_png(figure))
    return [folder / name for name in files]


def write_test_images(data: ImageData, folder: Path, count: int = 8) -> Path:
    """Save the first test images as PNG files, as input for `vae-reconstruct`. Returns the folder."""
    for i, image in enumerate(data.test_images[:count]):
        save_png(folder / f"{i}.png", image)
    return folder


@torch.no_grad()
def preview(model: VAE, images: npt.NDArray[np.uint8], prior: Prior | None = None) -> npt.NDArray[np.uint8]:
    """What the model makes of images, uint8 (N, H, W, C), as one picture uint8 (H', W', C): test images in the first
    row, their reconstructions in the second, then samples 0 … 15 of seed 0 from the prior, as `vae-sample` draws them.
    """
    shown = images[:_PREVIEW_COLUMNS]
    reconstructed, _, _ = model(to_float(torch.tensor(shown)))
    columns = len(shown)
    z = prior_latents(prior, 0, np.arange(2 * columns), model.config.latent_dim)
    drawn = model.decode(torch.from_numpy(z))
    scale = max(1, _PREVIEW_SIDE // images.shape[1])
    return grid(np.concatenate([shown, to_uint8(reconstructed), to_uint8(drawn)]), columns, scale=scale)


def training_curves(history: Sequence[EpochMetrics], entropy_floor: float | None) -> Figure:
    """Training and test loss, reconstruction and KL over epochs, with the lower limit of the reconstruction term."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    epochs = [metrics.epoch for metrics in history]
    for axes, term in zip(figure.subplots(1, 3), ("loss", "reconstruction", "kl"), strict=True):
        for split, colour in (("train", _TRAIN_COLOUR), ("test", _TEST_COLOUR)):
            values = [getattr(metrics, f"{split}_{term}") for metrics in history]
            axes.plot(epochs, values, color=colour, label=split, marker="o" if len(epochs) == 1 else None)
        if term == "reconstruction" and entropy_floor:
            axes.axhline(entropy_floor, color=_FLOOR_COLOUR, linestyle=":", label="entropy floor of the test images")
        axes.set_title("KL" if term == "kl" else term.capitalize())
        axes.set_xlabel("epoch")
        axes.set_ylabel("nats per image")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


@torch.no_grad()
def reconstructions(model: VAE, images: npt.NDArray[np.uint8]) -> Figure:
    """Images, uint8 (N, H, W, C), above their reconstructions through the posterior mean."""
    reconstructed, _, _ = model(to_float(torch.tensor(images)))
    rows = np.concatenate([images, to_uint8(reconstructed)])
    return image_grid(rows, len(images), row_names=("original", "reconstructed"))


@torch.no_grad()
def samples(checkpoint: Checkpoint, num: int = 100) -> Figure:
    """Samples 0 … num - 1 of seed 0 from the checkpoint's prior, ten in a row."""
    z = prior_latents(checkpoint.prior, 0, np.arange(num), checkpoint.model_config.latent_dim)
    return image_grid(to_uint8(checkpoint.build_model().decode(torch.from_numpy(z))), 10)


@torch.no_grad()
def latent_space(model: VAE, data: ImageData) -> Figure:
    """Posterior means of test images in the two latent dimensions that vary most, coloured by label if available."""
    mean = model.encode(to_float(torch.tensor(data.test_images[:_SCATTER_IMAGES])))[0].numpy()
    by_variance = np.argsort(-mean.var(axis=0), kind="stable")
    x, y = (by_variance[0], by_variance[1]) if len(by_variance) > 1 else (0, 0)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    if data.test_labels is None:
        axes.scatter(mean[:, x], mean[:, y], s=5, alpha=0.6, color=_TEST_COLOUR)
    else:
        labels = data.test_labels[:_SCATTER_IMAGES]
        for i, label in enumerate(np.unique(labels)):
            points = mean[labels == label]
            axes.scatter(
                points[:, x],
                points[:, y],
                s=6,
                alpha=0.7,
                color=f"C{i % 10}",
                linewidths=0,
                label=as_label(data.label_name(label)),
            )
        axes.legend(
            title="class" if data.class_names else "label",
            frameon=False,
            markerscale=3,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
        )
    axes.set_xlabel(f"posterior mean, latent {x}")
    axes.set_ylabel(f"posterior mean, latent {y}")
    axes.set_title(f"{len(mean):,} test images in the two latent dimensions that vary most")
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@torch.no_grad()
def interpolation(model: VAE, data: ImageData, steps: int = 10) -> Figure:
    """Images on a straight line in latent space, from the first test image to the first with a different label."""
    labels = data.test_labels
    other = 1 if labels is None else int(np.argmax(labels != labels[0])) or 1
    mean, _ = model.encode(to_float(torch.tensor(data.test_images[[0, other]])))
    weights = torch.linspace(0, 1, steps)[:, None]
    images = to_uint8(model.decode((1 - weights) * mean[0] + weights * mean[1]))
    names = None if labels is None else {0: data.label_name(labels[0]), steps - 1: data.label_name(labels[other])}
    return image_grid(images, steps, column_names=names)


def image_grid(
    images: npt.NDArray[np.uint8],
    columns: int,
    *,
    row_names: Sequence[str] = (),
    column_names: Mapping[int, str] | None = None,
) -> Figure:
    """Images uint8 (N, H, W, C) in a grid with `columns` columns, drawn as one picture.

    row_names: text to the left of each row. column_names: column → text above it.
    """
    height, width = images.shape[1] + _GAP, images.shape[2] + _GAP
    sheet = grid(images, columns, gap=_GAP)
    figure = Figure(figsize=(columns, columns * sheet.shape[0] / sheet.shape[1] + 0.25), layout="constrained")
    axes = figure.subplots()
    axes.imshow(without_gray_axis(sheet), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=9, labeltop=True, labelbottom=False)
    axes.set_yticks([height * (row + 0.5) for row in range(len(row_names))], row_names)
    names = column_names or {}
    axes.set_xticks([width * (column + 0.5) for column in names], list(names.values()))
    return figure


def without_gray_axis(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H, W, 1) → (H, W), as Pillow and matplotlib expect gray images; (H, W, 3) is unchanged."""
    return image[..., 0] if image.shape[-1] == 1 else image


def to_uint8(image: torch.Tensor) -> npt.NDArray[np.uint8]:
    """float32 (N, C, H, W) in [0, 1] on any device → uint8 (N, H, W, C), with the runtime's rounding."""
    return pixels.to_uint8(image.cpu().numpy())


def as_label(name: str) -> str:
    """Somebody's name for a class as matplotlib shows it: a dollar begins no formula."""
    return printable(name).replace("$", r"\$")


def to_png(figure: Figure) -> bytes:
    """Render the figure as the bytes of a PNG file. A character that the font lacks becomes a box."""
    png = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(png, format="png", dpi=_DPI)
    return png.getvalue()
