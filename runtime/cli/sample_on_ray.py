"""`vae-sample --engine ray`: seeds to a folder of Parquet files, on one machine or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from runtime.sampler import Sampler


def sample_on_ray(
    sampler: Sampler,
    num: int,
    output: Path,
    *,
    seed: int,
    first: int,
    temperature: float,
    shard: tuple[int, int],
    labels: tuple[str, ...],
    resume: bool,
    threads: int,
    images_per_file: int | None,
) -> None:
    """Draw, write, and print a summary. Ray prints the progress."""
    from runtime.job import SampleJob
    from runtime.ray.folder import fill_folder
    from runtime.ray.job import ParquetJob

    part = SampleJob.of(sampler, num, seed=seed, first=first, temperature=temperature, shard=shard, labels=labels)
    job = ParquetJob.of(
        sampler,
        num,
        seed=seed,
        first=first,
        temperature=temperature,
        shard=shard,
        labels=labels,
        images_per_file=images_per_file,
    )
    try:
        filled = fill_folder(sampler, job, part, output, resume=resume, threads=threads)
    except KeyboardInterrupt as interrupt:
        raise click.ClickException(
            f"{output}: stopped; the files there are complete, and the same command with --resume adds the others"
        ) from interrupt
    rate = (
        f"{filled.images / filled.drawing_s:,.0f} images/s once Ray had started in {filled.starting_s:.1f} s"
        if filled.images
        else "all present already"
    )
    click.echo(f"{output}: {part.num:,} image{'s' * (part.num > 1)} of seed {seed}, {rate}")
