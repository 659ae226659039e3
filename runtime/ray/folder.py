"""A folder of Parquet files, filled by Ray: resumable, in shards, and no file there that is not complete."""

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
from runtime.job import SampleJob
from runtime.outputs.space import require_space
from runtime.ray.cluster import connected
from runtime.ray.dataset import numbered
from runtime.ray.job import RECORD_NAME, ParquetJob, claim, missing
from runtime.ray.parquet import COMPRESSION, COMPRESSION_LEVEL, ParquetFolder
from runtime.ray.shipped import ShippedBundle
from runtime.ray.worker import Draw, DrawIntoFiles
from runtime.sampler import Sampler

_RANGES_AHEAD = 3  # of each worker: the one that it is at and two more


@dataclass(frozen=True)
class Filled:
    """What `fill_folder` did."""

    images: int
    """How many were drawn."""
    starting_s: float
    """Seconds until the first worker began to draw: of Ray itself, where it did not run, and of the workers."""
    drawing_s: float
    """Seconds from then on."""


def fill_folder(
    sampler: Sampler, job: ParquetJob, part: SampleJob, folder: Path, *, resume: bool, threads: int = 1
) -> Filled:
    """Write the images of `part` of `job` to `folder`, in files named by their indices.

    resume: leave out the files that are there, each of which is complete. threads: CPUs of a worker.

    Raises OutputError where the disk is too small or refuses, or where the folder holds something else, and EngineError
    where Ray cannot be had or gives up.
    """
    started = time.time()
    require_space(folder / RECORD_NAME, part.num * _bytes_on_disk(sampler, part))
    claim(job, folder)
    files = missing(job.files(part), folder) if resume else job.files(part)
    if not len(files):
        return Filled(0, 0.0, 0.0)
    with _staging(folder, part) as staging, connected():
        draw = Draw(ray.put(ShippedBundle.of(sampler)), sampler.precision, job.seed, job.temperature)
        written = numbered(files).map_batches(
            DrawIntoFiles,
            fn_constructor_args=(draw, ParquetFolder(job, folder, staging)),
            batch_size=None,
            num_cpus=threads,
            compute=ray.data.ActorPoolStrategy(
                size=min(len(files), _room_for(threads)), max_tasks_in_flight_per_actor=_RANGES_AHEAD
            ),
        )
        try:
            began = _first_began(written, folder)
        except ray.exceptions.RayError as error:
            raise EngineError(f"{folder}: Ray gave up: {' '.join(str(error).split())}; --resume goes on") from error
        return Filled(files.images, began - started, time.time() - began)


def _first_began(written: ray.data.Dataset, folder: Path) -> float:
    """Let Ray write everything, and say when the first worker began. Raises OutputError where a file fails."""
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
    """Workers of `threads` CPUs that the cluster has room for. Raises EngineError where it has none."""
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
    """A hidden folder for files that are not yet whole; also clears away what a killed job of this part left."""
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
    """Estimated bytes of one image on disk, from compressing the first few."""
    few = min(part.num, sampler.block)
    pixels = sampler.sample(few, seed=part.seed, first=part.first, temperature=part.temperature)
    compressed: int = pa.Codec(COMPRESSION, COMPRESSION_LEVEL).compress(pixels).size
    return max(1, compressed // few)
