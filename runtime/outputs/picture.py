"""One PNG with all images of a job in a grid; the job is noted in the file."""

from __future__ import annotations

from pathlib import Path

from runtime.images.png import save_png
from runtime.images.sheet import grid
from runtime.job import SampleJob
from runtime.manifest import METADATA_KEY
from runtime.sampler import Sampler


def write_picture(sampler: Sampler, job: SampleJob, path: Path, *, columns: int, scale: int) -> int:
    """Write the images in rows of `columns`, every pixel a square of `scale`: complete or not at all. Returns num."""
    pixels = sampler.sample(job.num, seed=job.seed, first=job.first, temperature=job.temperature)
    save_png(path, grid(pixels, columns, scale=scale), text={METADATA_KEY: job.to_json()})
    return job.num
