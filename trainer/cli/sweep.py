"""`vae-sweep`: parses options, runs the cells of `trainer.sweep.grid`, and writes table and picture."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from runtime.files.atomic import write_atomically
from runtime.files.regular import read_start
from trainer.cli.command import TrainerCommand, device_option, threads_option
from trainer.cli.data_options import DEFAULT_WORDS, data_options, load_data, shape_options
from trainer.errors import SettingsError
from trainer.settings import PRESETS

if TYPE_CHECKING:
    import torch

    from trainer.data.dataset import ImageData
    from trainer.settings import Settings
    from trainer.sweep.grid import Cell

_TABLE, _PICTURE = "sweep.csv", "sweep.png"
_TABLE_START = b"name,latent_dim,hidden,"
_HEADER = "latent  hidden    norm    loss      KL  active     NLL     FID   sure  seconds"


def _parse_numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int]:
    """Sizes as in 2,8,32."""
    return [sizes[0] if len(sizes) == 1 else _refuse(value) for sizes in _parse_layers(ctx, param, value)]


def _parse_layers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[tuple[int, ...]]:
    """Layer sizes of several models, as in 256,512x256."""
    try:
        found = [tuple(int(size) for size in item.split("x")) for item in value.split(",")] if value else []
    except ValueError:
        found = [(0,)]
    if any(min(sizes) < 1 for sizes in found):
        _refuse(value)
    return found


def _refuse(value: str | None) -> NoReturn:
    raise click.BadParameter(f"{value!r} should be sizes of at least 1 with commas between, as in 8,32")


def _parse_switches(ctx: click.Context, param: click.Parameter, value: str | None) -> list[bool]:
    """off, on, or off,on."""
    words = value.split(",") if value else []
    if any(word not in ("off", "on") for word in words):
        raise click.BadParameter(f"{value!r} should be off, on, or off,on")
    return [word == "on" for word in words]


@click.command(cls=TrainerCommand)
@click.option(
    "--latent-dim",
    "latent_dims",
    callback=_parse_numbers,
    metavar="SIZES",
    help="Latent sizes, as in 2,8,32,64,128.  [default: the preset's]",
)
@click.option(
    "--hidden",
    "hiddens",
    callback=_parse_layers,
    metavar="SIZES",
    help="Hidden sizes, as in 256,512: each for as many layers as the preset has; or 512x256 for two layers.  "
    "[default: the preset's]",
)
@click.option(
    "--batch-norm",
    "batch_norms",
    callback=_parse_switches,
    metavar="SWITCHES",
    help="off, on, or off,on for both.  [default: the preset's]",
)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="tutorial",
    show_default=True,
    help="Settings that all cells share, see vae-train --help.",
)
@data_options(DEFAULT_WORDS)
@shape_options
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training images.  [default: the preset's]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of every cell.")
@device_option("train")
@threads_option
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Parent folder of all runs.",
)
@click.option(
    "--name", default="sweep", show_default=True, help="Folder name of the sweep; an existing one is continued."
)
@click.option("--force", is_flag=True, help="Replace a table or picture that vae-sweep did not write.")
def sweep(
    latent_dims: list[int],
    hiddens: list[tuple[int, ...]],
    batch_norms: list[bool],
    preset: str,
    dataset: str | None,
    data_dir: Path | None,
    image_size: int | None,
    channels: int | None,
    epochs: int | None,
    seed: int,
    device: str,
    threads: int | None,
    runs: Path,
    name: str,
    force: bool,
) -> None:
    """Train a grid of models and compare them in one table and one picture.

    Every combination of the given --latent-dim, --hidden and --batch-norm is a cell, a model with a folder of its own.
    Repeating the command continues a sweep that was stopped: finished cells are not trained again.
    """
    import torch

    from runtime.outputs.foreign import replacing_ours_in
    from trainer.compiler import leave_out_compiler
    from trainer.csv_file import write_csv
    from trainer.device import choose_device
    from trainer.pictures import to_png
    from trainer.sweep.figure import draw_sweep
    from trainer.sweep.grid import NLL_SAMPLES, make_grid

    leave_out_compiler()
    base = replace(PRESETS[preset], seed=seed)
    if epochs is not None:
        base = replace(base, epochs=epochs)
    grid = make_grid(base, latent_dims, hiddens, batch_norms)
    if Path(name).name != name or name in ("", "latest"):
        raise SettingsError(f"the name of a sweep should be a plain folder name other than latest but is {name!r}")
    where = choose_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    data = load_data(dataset, data_dir, image_size, channels)
    folder = runs / name
    click.echo(f"{len(grid)} cells of {base.epochs} epochs on {data.name}, into {folder}\n\n{_HEADER}")
    with replacing_ours_in(folder, (_TABLE, _PICTURE), _is_table, "vae-sweep", force=force):
        cells = _run_with_progress(grid, folder, data, where)
        write_csv(folder / _TABLE, [asdict(cell) for cell in cells])
        write_atomically(folder / _PICTURE, to_png(draw_sweep(folder, cells)))
    click.echo(f"\nnats per test image; NLL by {NLL_SAMPLES} samples, of binarised images if Bernoulli")
    if cells[0].real_fid is not None:
        click.echo(f"sure: mean confidence of a classifier; FID of real test images: {cells[0].real_fid:.2f}")
    click.echo(f"wrote   {folder}/ {_TABLE}, {_PICTURE}")


def _is_table(path: Path) -> bool:
    """Whether the file at `path` is a `sweep.csv` of this command."""
    try:
        return read_start(path, len(_TABLE_START)) == _TABLE_START
    except OSError:
        return False


def _run_with_progress(grid: dict[str, Settings], folder: Path, data: ImageData, device: torch.device) -> list[Cell]:
    """Run all cells with one progress bar (on a terminal) and one line per finished cell."""
    from tqdm import tqdm

    from trainer.sweep.grid import run_cell

    cells = []
    total = sum(settings.epochs for settings in grid.values()) * len(data.train_images)
    with tqdm(total=total, unit=" images", unit_scale=True, disable=None, leave=False, mininterval=0.2) as bar:
        for cell_name, settings in grid.items():
            cell, is_new = run_cell(folder / cell_name, settings, data, device=device, advance=bar.update)
            if not is_new:
                bar.update(settings.epochs * len(data.train_images))
            bar.write(_row(cell))
            cells.append(cell)
    return cells


def _row(cell: Cell) -> str:
    fid = "none" if cell.fid is None else f"{cell.fid:.2f}"
    sure = "none" if cell.confidence is None else f"{cell.confidence:.3f}"
    return (
        f"{cell.latent_dim:6}  {cell.hidden:8}  {'on' if cell.batch_norm else 'off':>4}  "
        f"{cell.loss:6.2f}  {cell.kl:6.2f}  {cell.active_units:6}  {cell.nll:6.2f}  {fid:>6}  {sure:>5}  "
        f"{cell.seconds:7.0f}"
    )
