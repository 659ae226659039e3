"""Data options shared by the commands, and loading the data set with messages for the user."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.text import printable
from trainer.errors import DataError

if TYPE_CHECKING:
    from trainer.data.dataset import ImageData

DEFAULT_WORDS = "mnist; glyphs if it cannot be downloaded"
"""What `load_data` loads without a name, for help texts."""
_NAMED = 5  # unreadable files that are listed before "and N more"


def data_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--dataset`, `--data-dir` and `--cache-dir`, for a click command. `default` describes the first one's default."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--cache-dir",
                type=click.Path(path_type=Path, file_okay=False),
                envvar="VAE_CACHE",
                show_envvar=True,
                expose_value=False,
                is_eager=True,
                callback=_use_cache,
                help="Folder in which decoded images are kept.  [default: ~/.cache/vae-toolchain]",
            ),
            click.option(
                "--data-dir",
                type=click.Path(path_type=Path),
                envvar="VAE_DATA",
                show_envvar=True,
                help="Folder of mnist, fashion-mnist and kmnist, downloaded into it if missing.  [default: data]",
            ),
            click.option(
                "--dataset",
                help="mnist, fashion-mnist, kmnist, glyphs, or a path: a folder of images (flat, or one folder a "
                f"class), a .npy, .npz or IDX file.  [default: {default}]",
            ),
        ):
            command = option(command)
        return command

    return add


def _use_cache(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Everything that is cached by this process goes to `value`: decoded images, and classifiers of evaluations."""
    if value is not None:
        os.environ["VAE_CACHE"] = str(value)


def shape_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--image-size` and `--channels`, for a click command."""
    for option in (
        click.option(
            "--channels",
            type=click.Choice(["1", "3"]),
            callback=lambda ctx, param, value: value and int(value),
            help="1 for gray, 3 for colour.  [default: the data's own; 1 for a folder in which every file is gray]",
        ),
        click.option(
            "--image-size",
            type=click.IntRange(2, 1024),
            help="Side in pixels: the central square of each image is resized to it.  "
            "[default: the images' own, up to 128]",
        ),
    ):
        command = option(command)
    return command


def load_data(
    dataset: str | None, data_dir: Path | None, image_size: int | None = None, channels: int | None = None
) -> ImageData:
    """Load `dataset`, or the default if None; prints a notice if that is not MNIST, and the files that were skipped."""
    from trainer.data.idx import FAMILY_NAMES
    from trainer.data.load import load, load_default

    if dataset == "":
        raise DataError("--dataset is empty; name a data set or a path, or leave the option out")
    needs_folder = dataset is None or dataset in FAMILY_NAMES  # a path, or glyphs, is loaded without it
    if needs_folder and data_dir is not None and not data_dir.is_dir():
        source = " (from VAE_DATA)" if os.environ.get("VAE_DATA") == str(data_dir) else ""
        raise DataError(f"the data folder {data_dir}{source} does not exist")
    if dataset is not None:
        data = load(dataset, data_dir, image_size=image_size, channels=channels)
    else:
        data, reason = load_default(data_dir, image_size=image_size, channels=channels)
        if reason:
            click.secho(f"NO MNIST, TRAINING ON GLYPHS INSTEAD: {reason}", bold=True, err=True)
    if data.skipped:
        files = "1 file" if len(data.skipped) == 1 else f"{len(data.skipped)} files"
        click.echo(f"left out {files} that cannot be read:", err=True)
        for line in data.skipped[:_NAMED]:
            click.echo(f"  {printable(line)}", err=True)
        if len(data.skipped) > _NAMED:
            click.echo(f"  and {len(data.skipped) - _NAMED} more", err=True)
    return data
