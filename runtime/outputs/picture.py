"""Output to one PNG file with all images of a job in a grid; its metadata contains the job."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.errors import InputError
from runtime.images.png import save_png
from runtime.images.sheet import grid
from runtime.job import SampleJob
from runtime.manifest import METADATA_KEY
from runtime.outputs.foreign import is_our_picture, replacing_ours
from runtime.sampler import Sampler


def write_classes(sampler: Sampler, job: SampleJob, path: Path, *, scale: int, force: bool = False) -> int:
    """Write one row for each class, the images of `job` in each: column J has one noise for all classes. Returns num.

    force: replace a file that no call wrote. Raises InputError where the prior has no classes.
    """
    if not sampler.classes:
        raise InputError(
            "there are no classes to give a row each: the bundle draws from N(0, I), or its training data had no labels"
        )
    with replacing_ours(path, is_our_picture, "vae-sample", force=force):
        rows = [
            sampler.sample(job.num, seed=job.seed, first=job.first, temperature=job.temperature, label=number)
            for number in range(len(sampler.classes))
        ]
        save_png(path, grid(np.concatenate(rows), job.num, scale=scale), text={METADATA_KEY: job.to_json()})
    return job.num * len(rows)


def write_picture(
    sampler: Sampler, job: SampleJob, path: Path, *, columns: int, scale: int, force: bool = False
) -> int:
    """Write the images in rows of `columns`, every pixel a square of `scale`: complete or not at all. Returns num.

    force: replace a file that no call wrote.
    """
    with replacing_ours(path, is_our_picture, "vae-sample", force=force):
        pixels = sampler.sample(job.num, seed=job.seed, first=job.first, temperature=job.temperature, label=job.label)
        save_png(path, grid(pixels, columns, scale=scale), text={METADATA_KEY: job.to_json()})
    return job.num
