"""`vae-reconstruct`: images through the encoder and back, and paths between their latents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.command import DEFAULT_BUNDLE, RuntimeCommand, precision_option, scale_option, threads_option
from runtime.text import printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from runtime.reconstructor import Reconstructor

_TRAVERSE_TO = 3.0  # standard deviations of the prior, in both directions
_path = click.Path(path_type=Path)


@click.command(cls=RuntimeCommand)
@click.argument("images", type=_path, nargs=-1)
@click.option("--bundle", type=_path, default=DEFAULT_BUNDLE, show_default=True, help="A folder made by vae-export.")
@click.option(
    "--output",
    type=_path,
    default=Path("reconstruction.png"),
    show_default=True,
    help="PNG: each image above its reconstruction, with the mean absolute error in grey levels of 255; or the path.",
)
@click.option(
    "--latents", type=_path, help="Also write the posterior's mean and log_var, float32 (N, L), to this .npz."
)
@click.option(
    "--interpolate",
    type=_path,
    nargs=2,
    metavar="A B",
    help="Draw a path from image A to image B in latent space instead.",
)
@click.option(
    "--spherical", is_flag=True, help="With --interpolate: follow the great circle instead of the straight line."
)
@click.option(
    "--traverse",
    type=_path,
    metavar="IMAGE",
    help="Vary each latent of IMAGE in turn from -3 to 3 instead, one row a latent.",
)
@click.option(
    "--steps", type=click.IntRange(2, 1000), default=10, show_default=True, help="Images in each row of a path."
)
@click.option("--strict", is_flag=True, help="Refuse images of another size or mode instead of converting them.")
@precision_option
@scale_option
@threads_option
def reconstruct(
    images: tuple[Path, ...],
    bundle: Path,
    output: Path,
    latents: Path | None,
    interpolate: tuple[Path, Path] | None,
    spherical: bool,
    traverse: Path | None,
    steps: int,
    strict: bool,
    precision: str,
    scale: int,
    threads: int | None,
) -> None:
    """Send IMAGES (files, folders, or a uint8 .npy) through the encoder and the decoder and show both."""
    if bool(images) + bool(interpolate) + bool(traverse) != 1:
        raise click.UsageError("name images, or --interpolate two of them, or --traverse one: exactly one of these.")
    if output.suffix != ".png":
        raise click.BadParameter(f"{output} should end in .png", param_hint="--output")
    if latents is not None and (not images or latents.suffix != ".npz"):
        raise click.BadParameter("should be a .npz, and goes with IMAGES", param_hint="--latents")
    from runtime.images.png import save_png
    from runtime.reconstructor import Reconstructor

    reconstructor = Reconstructor(bundle, precision=precision, threads=threads)
    if interpolate:
        pixels, summary = _interpolation(reconstructor, interpolate, steps, spherical, strict)
    elif traverse:
        pixels, summary = _traversal(reconstructor, traverse, steps, strict)
    else:
        _reconstruct_all(reconstructor, images, output, latents, strict=strict, scale=scale)
        return
    from runtime.images.sheet import grid

    save_png(output, grid(pixels, steps, scale=scale))
    click.echo(f"{output}: {summary}")


def _reconstruct_all(
    reconstructor: Reconstructor,
    paths: tuple[Path, ...],
    output: Path,
    latents: Path | None,
    *,
    strict: bool,
    scale: int,
) -> None:
    from runtime.images.png import save_png
    from runtime.images.sheet import comparison, mean_absolute_errors

    originals = _load(reconstructor, paths, strict)
    reconstructed = reconstructor.reconstruct(originals)
    save_png(output, comparison(originals, reconstructed, scale=scale))
    count = len(originals)
    click.echo(f"{output}: {count} image{'s' * (count > 1)} above, reconstructions below")
    if latents is not None:
        _save_latents(reconstructor, originals, latents)
        click.echo(f"{latents}: mean and log_var, float32 ({count}, {reconstructor.latent_dim}) each")
    error = mean_absolute_errors(originals, reconstructed).mean()
    click.echo(f"mean absolute error: {error:.1f} of 255 grey levels")


def _load(reconstructor: Reconstructor, paths: tuple[Path, ...], strict: bool) -> npt.NDArray[np.uint8]:
    """Load the images and report on stderr which were converted, and how."""
    from runtime.images.image_inputs import load_images

    loaded = load_images(paths, reconstructor.image_shape, strict=strict)
    for name, change in zip(loaded.names, loaded.changes, strict=True):
        if change:
            click.echo(printable(f"{name}: converted, {change}"), err=True)
    return loaded.pixels


def _save_latents(reconstructor: Reconstructor, images: npt.NDArray[np.uint8], path: Path) -> None:
    import numpy as np

    from runtime.files import replacing

    mean, log_var = reconstructor.encode(images)
    with replacing(path) as temporary:
        np.savez(temporary, mean=mean, log_var=log_var)


def _interpolation(
    reconstructor: Reconstructor, ends: tuple[Path, Path], steps: int, spherical: bool, strict: bool
) -> tuple[npt.NDArray[np.uint8], str]:
    a, b = _load(reconstructor, ends, strict)
    pixels = reconstructor.interpolate(a, b, steps, spherical=spherical)
    return pixels, f"{steps} images from {ends[0].name} to {ends[1].name}"


def _traversal(reconstructor: Reconstructor, path: Path, steps: int, strict: bool) -> tuple[npt.NDArray[np.uint8], str]:
    import numpy as np

    (image,) = _load(reconstructor, (path,), strict)
    values = np.linspace(-_TRAVERSE_TO, _TRAVERSE_TO, steps)
    rows = [reconstructor.traverse(image, dimension, values) for dimension in range(reconstructor.latent_dim)]
    summary = f"one row for each of {len(rows)} latents, from {-_TRAVERSE_TO:g} to {_TRAVERSE_TO:g}"
    return np.concatenate(rows), summary
