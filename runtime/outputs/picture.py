"""One PNG with all images of a job in a grid; the job is noted in the file."""

from __future__ import annotations

from pathlib import Path

from runtime.files import remove_unfinished
from runtime.images.png import save_png
from runtime.images.sheet import grid
from runtime.job import SampleJob
from runtime.manifest import METADATA_KEY
from runtime.outputs.foreign import is_our_picture, require_ours
from runtime.owner import lock_beside, owning
from runtime.sampler import Sampler


def write_picture(
    sampler: Sampler, job: SampleJob, path: Path, *, columns: int, scale: int, force: bool = False
) -> int:
    """Write the images in rows of `columns`, every pixel a square of `scale`: complete or not at all. Returns num.

    force: replace a file that no call wrote.
    """
    with owning(path, lock_beside(path)):
        remove_unfinished(path)
        require_ours(path, ours=is_our_picture(path), force=force)
        pixels = sampler.sample(job.num, seed=job.seed, first=job.first, temperature=job.temperature)
        save_png(path, grid(pixels, columns, scale=scale), text={METADATA_KEY: job.to_json()})
    return job.num
