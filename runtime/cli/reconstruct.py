"""`vae-reconstruct`: images through the encoder and back, and paths between their latents."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.command import DEFAULT_BUNDLE, Command, NumberRange, precision_option, scale_option, threads_option
from runtime.errors import InputError
from runtime.text import printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from runtime.reconstructor import Reconstructor

_SMALLEST_EFFECT = 0.5  # grey levels, mean over pixels: below this a latent is dead
_TALLEST_SHEET = 2000  # pixels, unless --top asks for more rows
_TRAVERSE_TO = 3.0  # standard deviations of the prior, in both directions
_MOST_NAMED = 20  # converted images; the rest of a large folder is counted
_LATENTS = ("mean", "log_var")  # arrays of --latents
_path = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("images", type=_path, nargs=-1)
@click.option("--bundle", type=_path, default=DEFAULT_BUNDLE, show_default=True, help="A folder made by vae-export.")
@click.option(
    "--output",
    type=_path,
    default=Path("reconstruction.png"),
    show_default=True,
    help="PNG to write: each image above its reconstruction and their mean absolute error in grey levels (0-255), or "
    "the rows that one of the options below draws instead.",
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
    help="Vary each active latent of IMAGE in turn from -3 to 3 instead, one row a latent, the most active first.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    metavar="N",
    help="With --traverse: the N latents that change IMAGE most.  [default: as many as fit into 2,000 pixels]",
)
@click.option(
    "--variations",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Draw each of IMAGES with N variations of it, from the encoder's distribution, instead.",
)
@click.option(
    "--spread",
    type=NumberRange(0, 100),
    default=1.0,
    show_default=True,
    help="With --variations: factor on the standard deviation of the encoder's distribution.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="With --variations: seed of the draws.",
)
@click.option(
    "--toward", metavar="CLASS", help="Move each of IMAGES step by step to this class, by name or number, instead."
)
@click.option(
    "--direction",
    type=_path,
    nargs=2,
    metavar="A B",
    help="Move each of IMAGES step by step along the way from the mean latent of the images in folder B to that of "
    "those in folder A instead.",
)
@click.option(
    "--amount",
    type=float,
    default=1.0,
    show_default=True,
    help="With --toward or --direction: how far the last step goes; 1 is the whole way.",
)
@click.option(
    "--steps", type=click.IntRange(2, 1000), default=10, show_default=True, help="Images in each row of a path."
)
@click.option("--force", is_flag=True, help="Replace a file that vae-reconstruct did not write.")
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
    top: int | None,
    variations: int | None,
    spread: float,
    seed: int,
    toward: str | None,
    direction: tuple[Path, Path] | None,
    amount: float,
    steps: int,
    force: bool,
    strict: bool,
    precision: str,
    scale: int,
    threads: int | None,
) -> None:
    """Send IMAGES (files, folders, or a uint8 .npy) through the encoder and the decoder and show both."""
    moves = {"--variations": variations, "--toward": toward, "--direction": direction}
    _check(images, output, latents, interpolate, traverse, top, [name for name, value in moves.items() if value])
    from runtime.outputs.foreign import is_archive_of, is_our_picture, replacing_ours
    from runtime.reconstructor import Reconstructor

    reconstructor = Reconstructor(bundle, precision=precision, threads=threads)
    with ExitStack() as owned:
        owned.enter_context(replacing_ours(output, is_our_picture, "vae-reconstruct", force=force))
        if latents is not None:
            is_ours = partial(is_archive_of, names=_LATENTS)
            owned.enter_context(replacing_ours(latents, is_ours, "vae-reconstruct", force=force))
        if interpolate:
            pixels, summary = _interpolation(reconstructor, interpolate, steps, spherical, strict)
        elif traverse:
            _traversal(reconstructor, traverse, output, steps, top, strict=strict, scale=scale)
            return
        elif variations is not None:
            pixels, summary = _variations(reconstructor, images, variations, spread, seed, strict)
            steps = variations + 1
        elif toward is not None or direction is not None:
            pixels, summary = _moves(reconstructor, images, toward, direction, amount, steps, strict)
        else:
            _reconstruct_all(reconstructor, images, output, latents, strict=strict, scale=scale)
            return
        from runtime.images.sheet import grid

        _save(reconstructor, output, grid(pixels, steps, scale=scale))
        click.echo(f"{output}: {summary}")


def _check(
    images: tuple[Path, ...],
    output: Path,
    latents: Path | None,
    interpolate: tuple[Path, Path] | None,
    traverse: Path | None,
    top: int | None,
    moves: list[str],
) -> None:
    """Refuse options that do not go together, before the bundle is opened. moves: those given that move IMAGES."""
    if bool(images) + bool(interpolate) + bool(traverse) != 1:
        raise click.UsageError("name images, or --interpolate two of them, or --traverse one: exactly one of these.")
    if output.suffix != ".png":
        raise click.BadParameter(f"{output} should end in .png", param_hint="--output")
    if latents is not None and (not images or latents.suffix != ".npz"):
        raise click.BadParameter("should be a .npz, and goes with IMAGES", param_hint="--latents")
    if len(moves) > 1 or (moves and (not images or latents)):
        raise click.UsageError(f"{' and '.join(moves)}: give one of these, with IMAGES and without --latents.")
    if top is not None and traverse is None:
        raise click.BadParameter("goes with --traverse", param_hint="--top")


def _save(reconstructor: Reconstructor, output: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write the picture with a note of the model that made it, which tells a later call that it may be replaced."""
    from runtime.images.png import save_png
    from runtime.manifest import METADATA_KEY

    note = {"command": "vae-reconstruct", "pair_id": reconstructor.bundle.manifest.metadata.pair_id}
    save_png(output, picture, text={METADATA_KEY: json.dumps(note)})


def _reconstruct_all(
    reconstructor: Reconstructor,
    paths: tuple[Path, ...],
    output: Path,
    latents: Path | None,
    *,
    strict: bool,
    scale: int,
) -> None:
    from runtime.images.sheet import comparison, mean_absolute_errors

    originals = _load(reconstructor, paths, strict)
    reconstructed = reconstructor.reconstruct(originals)
    _save(reconstructor, output, comparison(originals, reconstructed, scale=scale))
    count = len(originals)
    click.echo(f"{output}: {count} image{'s' * (count > 1)} above, reconstructions below")
    if latents is not None:
        _save_latents(reconstructor, originals, latents)
        click.echo(f"{latents}: mean and log_var, float32 ({count}, {reconstructor.latent_dim}) each")
    error = mean_absolute_errors(originals, reconstructed).mean()
    click.echo(f"mean absolute error: {error:.1f} of 255 grey levels")


def _load(reconstructor: Reconstructor, paths: tuple[Path, ...], strict: bool) -> npt.NDArray[np.uint8]:
    """Load the images and report on stderr which were left out, and which converted, and how."""
    from runtime.images.image_inputs import load_images

    loaded = load_images(paths, reconstructor.image_shape, strict=strict)
    for line in loaded.skipped:
        click.echo(printable(f"left out {line}"), err=True)
    converted = [
        f"{name}: converted, {change}" for name, change in zip(loaded.names, loaded.changes, strict=True) if change
    ]
    for line in converted[:_MOST_NAMED]:
        click.echo(printable(line), err=True)
    if len(converted) > _MOST_NAMED:
        click.echo(f"and {len(converted) - _MOST_NAMED:,} more images were converted", err=True)
    return loaded.pixels


def _load_one(reconstructor: Reconstructor, path: Path, strict: bool) -> npt.NDArray[np.uint8]:
    """The one image of a path, uint8 (H, W, C)."""
    pixels = _load(reconstructor, (path,), strict)
    if len(pixels) != 1:
        raise InputError(f"{path}: holds {len(pixels)} images, but one is needed here; name a file")
    image: npt.NDArray[np.uint8] = pixels[0]
    return image


def _save_latents(reconstructor: Reconstructor, images: npt.NDArray[np.uint8], path: Path) -> None:
    import numpy as np

    from runtime.files.atomic import replacing

    mean, log_var = reconstructor.encode(images)
    with replacing(path) as temporary:
        np.savez(temporary, mean=mean, log_var=log_var)


def _interpolation(
    reconstructor: Reconstructor, ends: tuple[Path, Path], steps: int, spherical: bool, strict: bool
) -> tuple[npt.NDArray[np.uint8], str]:
    a, b = (_load_one(reconstructor, end, strict) for end in ends)
    pixels = reconstructor.interpolate(a, b, steps, spherical=spherical)
    return pixels, f"{steps} images from {ends[0].name} to {ends[1].name}"


def _variations(
    reconstructor: Reconstructor, paths: tuple[Path, ...], num: int, spread: float, seed: int, strict: bool
) -> tuple[npt.NDArray[np.uint8], str]:
    import numpy as np

    images = _load(reconstructor, paths, strict)
    rows = [
        np.concatenate([image[np.newaxis], reconstructor.variations(image, num, spread=spread, seed=seed)])
        for image in images
    ]
    return np.concatenate(rows), f"{len(images)} rows, an image and {num} variations of it"


def _moves(
    reconstructor: Reconstructor,
    paths: tuple[Path, ...],
    toward: str | None,
    direction: tuple[Path, Path] | None,
    amount: float,
    steps: int,
    strict: bool,
) -> tuple[npt.NDArray[np.uint8], str]:
    import numpy as np

    images = _load(reconstructor, paths, strict)
    way: str | npt.NDArray[np.float64]
    if direction is not None:
        way = reconstructor.direction(*(_load(reconstructor, (folder,), strict) for folder in direction))
        words = f"from {direction[1]} to {direction[0]}"
    else:
        assert toward is not None
        way, words = toward, f"toward class {toward}"
    amounts = np.linspace(0, amount, steps).tolist()
    rows = [reconstructor.move(image, way, amounts) for image in images]
    return np.concatenate(rows), f"{len(images)} rows of {steps} steps {words}, the last at {amount:g}"


def _traversal(
    reconstructor: Reconstructor,
    path: Path,
    output: Path,
    steps: int,
    top: int | None,
    *,
    strict: bool,
    scale: int,
) -> None:
    """Rows for the latents that change the image, the one that changes it most first."""
    import numpy as np

    from runtime.images.sheet import labelled_rows

    image = _load_one(reconstructor, path, strict)
    effects = reconstructor.effects(image)
    active = np.argsort(-effects, kind="stable")[: np.count_nonzero(effects >= _SMALLEST_EFFECT)]
    if not len(active):
        raise InputError(f"{path}: no latent changes this image by {_SMALLEST_EFFECT:g} grey levels; nothing to show")
    fitting = max(1, _TALLEST_SHEET // (scale * (reconstructor.image_shape[1] + 2)))
    shown = active[: top or fitting].tolist()
    values = np.linspace(-_TRAVERSE_TO, _TRAVERSE_TO, steps)
    rows = [reconstructor.traverse(image, dimension, values) for dimension in shown]
    labels = [f"z{dimension}  {effects[dimension]:.1f}" for dimension in shown]
    _save(reconstructor, output, labelled_rows(np.concatenate(rows), labels, scale=scale))
    click.echo(
        f"{output}: {len(shown)} latents from {-_TRAVERSE_TO:g} to {_TRAVERSE_TO:g}, with the grey levels they change"
    )
    if len(shown) < len(active):
        click.echo(f"{len(active) - len(shown)} more change it less; --top {len(active)} shows all")
    click.echo(f"{len(effects) - len(active)} of {len(effects)} latents change nothing and are left out")
