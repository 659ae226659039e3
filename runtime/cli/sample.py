"""`vae-sample`: seeds to images, from a grid of 64 to a file of millions."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.command import (
    Command,
    bundle_argument,
    precision_option,
    provider_option,
    scale_option,
    stdout_was_open,
    temperature_option,
    threads_option,
)
from runtime.cli.progress import progress
from runtime.cli.streams import give_up_stdout
from runtime.errors import OutputError

if TYPE_CHECKING:
    from runtime.job import SampleJob
    from runtime.sampler import Sampler

_STDOUT = Path("-")
_MOST_IN_GRID = 10_000
_LONGEST_SHARD = 40
_IN_SHEET, _IN_ROW = 64, 10  # images by default
_RESUMABLE = (".npy", "")


def _parse_shard(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """Parse `I/N`: part I, counted from 0, of N parts."""
    which, _, parts = value.partition("/")
    if len(value) > _LONGEST_SHARD or not (which.isdecimal() and parts.isdecimal() and int(which) < int(parts)):
        raise click.BadParameter(f"{value!r} should be I/N with I from 0 to N - 1, as in 0/4")
    return int(which), int(parts)


@click.command(cls=Command)
@bundle_argument
@click.option("--num", type=click.IntRange(min=1), help="Number of images.  [default: 64; 10 in a row with --by-class]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the noise.")
@click.option(
    "--first", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Index of the first image."
)
@click.option(
    "--shard",
    metavar="I/N",
    callback=_parse_shard,
    default="0/1",
    show_default=True,
    help="Draw only part I of N equal parts, I from 0 to N - 1; the parts in order make the whole range.",
)
@temperature_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("samples.png"),
    show_default=True,
    help="NAME.png: a grid. NAME.npy: uint8 (num, H, W, C). NAME.npz: images, latents, indices and classes. "
    "NAME without an ending: a folder of numbered PNGs; with --engine ray, of Parquet files. -: raw pixels on stdout.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="CLASS",
    help="Draw only this class, by name or number; repeat it for several classes in turn.",
)
@click.option("--by-class", is_flag=True, help="Draw a .png with one row for each class, --num images in a row.")
@click.option("--resume", is_flag=True, help="Continue an interrupted .npy or folder; without one, start anew.")
@click.option("--force", is_flag=True, help="Replace a file that vae-sample did not write.")
@precision_option
@provider_option
@scale_option
@threads_option
@click.option(
    "--batch-size",
    type=click.IntRange(1, 2**24),
    help="Images written at a time, or per Parquet file.  [default: about a thousand small ones; 100 MB in Parquet]",
)
@click.option(
    "--engine",
    type=click.Choice(["threads", "ray"]),
    default="threads",
    show_default=True,
    help="threads: this process. ray: Ray Data on this machine, or on the cluster that RAY_ADDRESS names, into a "
    "folder of Parquet files; --threads is then the number of CPUs per worker, 1 by default. Needs the extra `ray`.",
)
def sample(
    bundle: Path,
    num: int | None,
    seed: int,
    first: int,
    shard: tuple[int, int],
    temperature: float,
    output: Path,
    labels: tuple[str, ...],
    by_class: bool,
    resume: bool,
    force: bool,
    precision: str,
    providers: tuple[str, ...],
    scale: int,
    threads: int | None,
    batch_size: int | None,
    engine: str,
) -> None:
    """Draw images from BUNDLE, a folder made by vae-export  [default: runs/latest/bundle].

    Image I of a seed is the same picture for every --num and --first, on every machine and in every language.
    """
    num = num or (_IN_ROW if by_class else _IN_SHEET)
    _check(output, num, first, resume, engine)
    if providers and engine == "ray":
        raise click.BadParameter("goes with --engine threads: workers of Ray use their CPUs", param_hint="--provider")
    if by_class and (labels or output.suffix != ".png" or shard != (0, 1)):
        raise click.BadParameter("goes with a .png, without --label or --shard", param_hint="--by-class")
    from runtime.job import SampleJob
    from runtime.sampler import Sampler

    sampler = Sampler(bundle, precision=precision, threads=threads, providers=providers or None)
    if engine == "ray":
        from runtime.cli.sample_on_ray import sample_on_ray

        sample_on_ray(
            sampler,
            num,
            output,
            seed=seed,
            first=first,
            temperature=temperature,
            shard=shard,
            labels=labels,
            resume=resume,
            threads=threads or 1,
            images_per_file=batch_size,
        )
        return
    job = SampleJob.of(sampler, num, seed=seed, first=first, temperature=temperature, shard=shard, labels=labels)
    started = time.perf_counter()
    if by_class:
        from runtime.outputs.picture import write_classes

        write_classes(sampler, job, output, scale=scale, force=force)
        click.echo(f"{output}: {job.num} of each class, from the top: {', '.join(sampler.classes)}")
        return
    drawn = _write(sampler, job, output, resume=resume, force=force, scale=scale, batch_size=batch_size)
    rate = f"{drawn / (time.perf_counter() - started):,.0f} images/s" if drawn else "all present already"
    click.echo(
        f"{'stdout' if output == _STDOUT else output}: {job.num:,} image{'s' * (job.num > 1)} of seed {seed}, {rate}",
        err=output == _STDOUT,
    )


def _check(output: Path, num: int, first: int, resume: bool, engine: str) -> None:
    """Refuse options that do not go together, before the bundle is opened."""
    if first + num > 2**63:
        raise click.BadParameter(f"--first + --num should be at most 2**63 but is {first + num}", param_hint="--num")
    if output == _STDOUT and not stdout_was_open():
        raise click.BadParameter("stdout is closed; name a file", param_hint="--output")
    if output != _STDOUT and output.suffix not in (".png", ".npy", ".npz", ""):
        raise click.BadParameter(
            f"{output} should end in .png, .npy or .npz, have no ending (a folder), or be - (stdout)",
            param_hint="--output",
        )
    if engine == "ray" and (output == _STDOUT or output.suffix):
        raise click.BadParameter(
            f"{output} should be a folder, a name without an ending: --engine ray writes Parquet files into it",
            param_hint="--output",
        )
    if resume and (output == _STDOUT or output.suffix not in _RESUMABLE):
        raise click.BadParameter("only a .npy or a folder can be resumed", param_hint="--resume")
    if output.suffix == ".png" and num > _MOST_IN_GRID:
        raise click.BadParameter(
            f"a grid holds at most {_MOST_IN_GRID:,} images; write {num:,} to a .npy or to a folder",
            param_hint="--output",
        )


def _write(
    sampler: Sampler, job: SampleJob, output: Path, *, resume: bool, force: bool, scale: int, batch_size: int | None
) -> int:
    """Write the images with a progress bar. Returns how many were drawn: fewer than `job.num` after a --resume."""
    done = 0
    with progress(job.num) as show:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            show(count)

        try:
            return _write_as(
                sampler, job, output, resume=resume, force=force, scale=scale, batch_size=batch_size, advance=advance
            )
        except KeyboardInterrupt as interrupt:
            if output == _STDOUT or output.suffix not in _RESUMABLE:
                raise
            raise click.ClickException(
                f"{output}: stopped at {done:,} of {job.num:,} images; the same command with --resume goes on"
            ) from interrupt


def _write_as(
    sampler: Sampler,
    job: SampleJob,
    output: Path,
    *,
    resume: bool,
    force: bool,
    scale: int,
    batch_size: int | None,
    advance: Callable[[int], None],
) -> int:
    """Write the images in the format that the ending of `output` names."""
    if output == _STDOUT:
        from runtime.outputs.raw import write_raw

        try:
            return write_raw(sampler, job, sys.stdout.buffer, batch_size=batch_size, advance=advance)
        except OutputError:
            give_up_stdout()
            raise
    if output.suffix == ".npy":
        from runtime.outputs.npy import write_npy

        return write_npy(sampler, job, output, resume=resume, force=force, batch_size=batch_size, advance=advance)
    if output.suffix == ".npz":
        from runtime.outputs.npz import write_npz

        return write_npz(sampler, job, output, force=force, batch_size=batch_size, advance=advance)
    if output.suffix == ".png":
        from runtime.images.sheet import columns_for
        from runtime.outputs.picture import write_picture

        return write_picture(sampler, job, output, columns=columns_for(job.num), scale=scale, force=force)
    from runtime.outputs.folder import write_folder

    return write_folder(sampler, job, output, resume=resume, batch_size=batch_size, advance=advance)
