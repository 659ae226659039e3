"""`vae-sample` and `vae-reconstruct`: thin doors that check, call, and say what was written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.errors import VaeRuntimeError

if TYPE_CHECKING:
    from runtime.sampler import Sampler

DEFAULT_BUNDLE = Path("runs/latest/bundle")


class RuntimeCommand(click.Command):
    """A command that ends a user's mistake in one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VaeRuntimeError as error:
            raise click.ClickException(str(error)) from error


_threads = click.option(
    "--threads", type=click.IntRange(1, 1024), help="Threads for one call.  [default: the processors usable here]"
)
_scale = click.option(
    "--scale",
    type=click.IntRange(1, 32),
    default=3,
    show_default=True,
    help="PNG: each pixel as a square of this size.",
)


@click.command(cls=RuntimeCommand)
@click.argument("bundle", type=click.Path(path_type=Path), default=DEFAULT_BUNDLE)
@click.option("--num", type=click.IntRange(min=1), default=64, show_default=True, help="How many images.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Which pictures.")
@click.option(
    "--first", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Index of the first one."
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    help="Standard deviation of the latents: lower is more typical, higher more unusual.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("samples.png"),
    show_default=True,
    help="A grid as .png, or a uint8 array (num, H, W, C) as .npy.",
)
@_scale
@_threads
def sample(
    bundle: Path,
    num: int,
    seed: int,
    first: int,
    temperature: float,
    output: Path,
    scale: int,
    threads: int | None,
) -> None:
    """Draw images from BUNDLE, a folder made by vae-export  [default: runs/latest/bundle].

    Image I of a seed is the same picture whatever --num, --first, the machine or the language.
    """
    if output.suffix not in (".png", ".npy"):
        raise click.BadParameter(f"{output} should end in .png or .npy", param_hint="--output")
    from runtime.sampler import Sampler

    sampler = Sampler(bundle, threads=threads)
    if output.suffix == ".npy":
        _write_npy(sampler, output, num, seed=seed, first=first, temperature=temperature)
    else:
        from runtime import images

        pixels = sampler.sample(num, seed=seed, first=first, temperature=temperature)
        images.save_png(output, images.grid(pixels, math.ceil(math.sqrt(num)), scale=scale))
    click.echo(f"{output}: {num:,} image{'s' * (num > 1)} of seed {seed}")


def _write_npy(sampler: Sampler, output: Path, num: int, *, seed: int, first: int, temperature: float) -> None:
    """Fill a memory-mapped file batch by batch, so that memory does not grow with `num`."""
    import numpy as np

    from runtime.files import replacing

    batch = 8192
    channels, height, width = sampler.image_shape
    with replacing(output) as temporary:
        pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, (num, height, width, channels))
        for start in range(0, num, batch):
            count = min(batch, num - start)
            pixels[start : start + count] = sampler.sample(
                count, seed=seed, first=first + start, temperature=temperature
            )
        pixels.flush()


@click.command(cls=RuntimeCommand)
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    default=DEFAULT_BUNDLE,
    show_default=True,
    help="A folder made by vae-export.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("reconstruction.png"),
    show_default=True,
    help="PNG: the images in the upper row, their reconstructions below.",
)
@_scale
@_threads
def reconstruct(images: tuple[Path, ...], bundle: Path, output: Path, scale: int, threads: int | None) -> None:
    """Send IMAGES through the encoder and the decoder and show both side by side."""
    if output.suffix != ".png":
        raise click.BadParameter(f"{output} should end in .png", param_hint="--output")
    import numpy as np

    from runtime.images import grid, load_image, save_png
    from runtime.reconstructor import Reconstructor

    reconstructor = Reconstructor(bundle, threads=threads)
    originals = []
    for path in images:
        pixels, changes = load_image(path, reconstructor.image_shape)
        if changes:
            click.echo(f"{path}: converted, {changes}")
        originals.append(pixels)
    stack = np.stack(originals)
    reconstructed = reconstructor.reconstruct(stack)
    save_png(output, grid(np.concatenate([stack, reconstructed]), len(stack), scale=scale))
    click.echo(f"{output}: {len(stack)} image{'s' * (len(stack) > 1)} above, reconstructions below")
    error = np.abs(stack.astype(np.float32) - reconstructed).mean() / 255
    click.echo(f"mean absolute error: {error:.4f} of the full range")
