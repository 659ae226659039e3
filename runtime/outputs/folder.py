"""Output to a folder of PNG files named by image index, so several shards can write to one folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.blocks import in_threads
from runtime.errors import OutputError
from runtime.files.atomic import remove_unfinished
from runtime.files.owner import owning_part
from runtime.images.png import write_png
from runtime.job import SampleJob, check_same, write_record
from runtime.outputs.space import require_space
from runtime.sampler import Sampler

RECORD_NAME = "vae-sample.json"
_BYTES_ON_DISK = 4096  # minimum size of a file on common file systems
_FILES_IN_TASK = 64
_NUMBERED = re.compile(r"(\d{8,19})[-.]")


def write_folder(
    sampler: Sampler,
    job: SampleJob,
    folder: Path,
    *,
    resume: bool,
    batch_size: int | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> int:
    """Write image I of `job` to `folder`/I.png, I with at least eight digits, in several threads.

    Where classes are asked for, the name of its class follows the number of an image, as in 00000012-dog.png.

    resume: leave out the files that are there, each of which is complete. Returns how many this call drew. Raises
    OutputError where the disk is too small or refuses, or where the folder holds something else.
    """
    record = folder / RECORD_NAME
    require_space(record, _count_missing(job, folder) * _BYTES_ON_DISK)

    def claim() -> None:
        remove_unfinished(record)
        if record.exists():
            check_same(job, record, ignoring=("first", "num"))
        elif any(not path.name.startswith(".") for path in folder.iterdir()):
            raise OutputError(f"{folder}: contains files that vae-sample did not write; choose another --output")
        else:
            write_record(job, record)

    with owning_part(folder, job.first, job.num, claim):
        path_of = _naming(sampler, job, folder)
        _remove_unfinished(job, folder)
        start, stop = _first_missing(job, path_of) if resume else job.first, job.first + job.num
        advance(start - job.first)
        if start < stop:
            _write(sampler, job, folder, path_of, start, batch_size, advance)
        return stop - start


def _write(
    sampler: Sampler,
    job: SampleJob,
    folder: Path,
    path_of: Callable[[int], Path],
    start: int,
    batch_size: int | None,
    advance: Callable[[int], object],
) -> None:
    at = start
    try:
        for pixels in sampler.stream(
            job.first + job.num - start,
            seed=job.seed,
            first=start,
            temperature=job.temperature,
            label=job.label,
            batch_size=batch_size,
        ):
            _write_all(path_of, at, pixels, sampler.threads)
            at += len(pixels)
            advance(len(pixels))
    except OSError as error:
        raise OutputError(
            f"cannot write into {folder}: {error.strerror or error}; the images there are complete, "
            "and --resume adds the others"
        ) from error


def _remove_unfinished(job: SampleJob, folder: Path) -> None:
    """Remove the files that a killed call was at."""
    for path in folder.glob(".*.png"):
        if _is_of(job, path.name.removeprefix(".")):
            path.unlink(missing_ok=True)


def _count_missing(job: SampleJob, folder: Path) -> int:
    """How many of the job's files will be new: those that are there already have their room."""
    paths = folder.glob("*.png") if folder.is_dir() else ()
    return max(0, job.num - sum(_is_of(job, path.name) for path in paths))


def _is_of(job: SampleJob, name: str) -> bool:
    """Whether a file of this name holds an image of the job: names begin with the index."""
    match = _NUMBERED.match(name)
    return match is not None and job.first <= int(match[1]) < job.first + job.num


def _first_missing(job: SampleJob, path_of: Callable[[int], Path]) -> int:
    """Index of the first image that is not there; images are written in order, but for the last few of a batch."""
    indices = range(job.first, job.first + job.num)
    return next((index for index in indices if not path_of(index).exists()), indices.stop)


def _write_all(path_of: Callable[[int], Path], first: int, pixels: npt.NDArray[np.uint8], threads: int) -> None:
    def work(starts: Iterator[int]) -> None:
        for start in starts:
            for i in range(start, min(start + _FILES_IN_TASK, len(pixels))):
                path = path_of(first + i)
                temporary = path.with_name(f".{path.name}")  # renamed when whole: a file that is there is complete
                write_png(temporary, pixels[i])
                temporary.replace(path)

    in_threads(work, range(0, len(pixels), _FILES_IN_TASK), threads)


def _naming(sampler: Sampler, job: SampleJob, folder: Path) -> Callable[[int], Path]:
    """Index → file."""
    names = [re.sub(r"[^\w.-]+", "_", sampler.classes[number]) for number in job.labels or ()]

    def path_of(index: int) -> Path:
        name = f"-{names[index % len(names)]}" if names else ""
        return folder / f"{index:08d}{name}.png"

    return path_of
