"""Output to a folder of Parquet files with Ray: resumable, in shards, and every file in it is complete."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import ray
import ray.data
import ray.exceptions

from runtime.errors import EngineError, OutputError
from runtime.files.owner import owning_part
from runtime.job import SampleJob
from runtime.outputs.space import require_space
from runtime.ray.cluster import connected
from runtime.ray.dataset import numbered
from runtime.ray.job import RECORD_NAME, ParquetJob, claim, missing
from runtime.ray.parquet import COMPRESSION, COMPRESSION_LEVEL, ParquetFolder
from runtime.ray.shipped import ShippedBundle
from runtime.ray.worker import Draw, DrawIntoFiles
from runtime.sampler import Sampler

_RANGES_AHEAD = 3  # ranges assigned to a worker: the current one and two more


@dataclass(frozen=True)
class Filled:
    """The result of `fill_folder`."""

    images: int
    """Number of images drawn."""
    starting_s: float
    """Seconds until the first worker began to draw: start of the workers, and of Ray if it was not running."""
    drawing_s: float
    """Seconds from then to the end."""


def fill_folder(
    sampler: Sampler, job: ParquetJob, part: SampleJob, folder: Path, *, resume: bool, threads: int = 1
) -> Filled:
    """Write the images of `part` of `job` to `folder`, in files named by their indices.

    resume: skip existing files; they are always complete. threads: CPUs per worker.

    Raises OutputError if the disk is too small, writing fails, or the folder has other content, and EngineError if Ray
    is not available or fails.
    """
    absent = missing(job.files(part), folder).images if folder.is_dir() else part.num
    require_space(folder / RECORD_NAME, absent * _bytes_on_disk(sampler, part))
    with owning_part(folder, part.first, part.num, lambda: claim(job, folder)):
        return _fill(sampler, job, part, folder, resume, threads)


def _fill(sampler: Sampler, job: ParquetJob, part: SampleJob, folder: Path, resume: bool, threads: int) -> Filled:
    started = time.time()
    files = missing(job.files(part), folder) if resume else job.files(part)
    if not len(files):
        return Filled(0, 0.0, 0.0)
    with _staging(folder, part) as staging, connected():
        draw = Draw(ray.put(ShippedBundle.of(sampler)), sampler.precision, job.seed, job.temperature, job.label)
        written = numbered(files).map_batches(
            DrawIntoFiles,
            fn_constructor_args=(draw, ParquetFolder(job, folder, staging, labelled=bool(sampler.classes))),
            batch_size=None,
            num_cpus=threads,
            compute=ray.data.ActorPoolStrategy(
                size=min(len(files), _room_for(threads)), max_tasks_in_flight_per_actor=_RANGES_AHEAD
            ),
        )
        try:
            began = _first_began(written, folder)
        except ray.exceptions.RayError as error:
            raise EngineError(
                f"{folder}: Ray failed: {' '.join(str(error).split())}; continue with --resume"
            ) from error
        return Filled(files.images, began - started, time.time() - began)


def _first_began(written: ray.data.Dataset, folder: Path) -> float:
    """Write all files with Ray. Returns when the first worker began. Raises OutputError if a file cannot be written."""
    began = math.inf
    for row in written.iter_rows():
        if row["error"]:
            raise OutputError(
                f"cannot write into {folder}: {row['error']}; the files there are complete, "
                "and --resume adds the others"
            )
        began = min(began, row["began"])
    return began


def _room_for(threads: int) -> int:
    """Number of workers with `threads` CPUs that fit on the cluster. Raises EngineError if none does."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    workers = sum(count // threads for count in cpus)
    if not workers:
        raise EngineError(
            f"--threads {threads}: no machine of the cluster has that many CPUs; the largest has {max(cpus, default=0)}"
        )
    return workers


@contextmanager
def _staging(folder: Path, part: SampleJob) -> Iterator[Path]:
    """Create a hidden folder for unfinished files; removes leftovers of an interrupted job of this part."""
    staging = folder / f".{part.first}-{part.num}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or error}") from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _bytes_on_disk(sampler: Sampler, part: SampleJob) -> int:
    """Estimated bytes per image on disk, measured by compressing the first few."""
    few = min(part.num, sampler.block)
    pixels = sampler.sample(few, seed=part.seed, first=part.first, temperature=part.temperature, label=part.label)
    compressed: int = pa.Codec(COMPRESSION, COMPRESSION_LEVEL).compress(pixels).size
    return max(1, compressed // few)
