"""Output to one PNG file with all images of a job in a grid; its metadata contains the job."""

from __future__ import annotations

from pathlib import Path

from runtime.images.png import save_png
from runtime.images.sheet import grid
from runtime.job import SampleJob
from runtime.manifest import METADATA_KEY
from runtime.sampler import Sampler


def write_picture(sampler: Sampler, job: SampleJob, path: Path, *, columns: int, scale: int) -> int:
    """Write a grid with `columns` columns, each pixel enlarged to `scale` × `scale`, atomically. Returns num."""
    pixels = sampler.sample(job.num, seed=job.seed, first=job.first, temperature=job.temperature)
    save_png(path, grid(pixels, columns, scale=scale), text={METADATA_KEY: job.to_json()})
    return job.num
