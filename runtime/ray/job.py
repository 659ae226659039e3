"""The contents of a Parquet folder: which images in which file, identical for every shard and resumed job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from runtime.errors import OutputError
from runtime.files.atomic import remove_unfinished
from runtime.job import SampleJob, check_same, write_record
from runtime.labels import Label
from runtime.noise import NOISE_VERSION
from runtime.ray.ranges import Ranges, power_of_two
from runtime.ray.shipped import ShippedBundle
from runtime.sampler import Sampler

RECORD_NAME = "_vae-sample.json"
"""Name of the record. Parquet readers ignore files whose names begin with an underscore."""
_BYTES_IN_FILE = 2**27
"""Bytes of pixels that a worker holds in memory at a time."""


@dataclass(frozen=True)
class ParquetJob(SampleJob):
    """A folder of Parquet files. `first` and `num` describe the images of all shards together."""

    manifest_sha256: str
    noise_version: int
    images_per_file: int
    shards: int
    """Number of shards. Every file belongs to exactly one."""

    @classmethod
    def of(
        cls,
        sampler: Sampler,
        num: int,
        *,
        seed: int,
        first: int,
        temperature: float,
        shard: tuple[int, int] = (0, 1),
        labels: Sequence[Label] = (),
        images_per_file: int | None = None,
    ) -> ParquetJob:
        """The job of all shards together; arguments as for `SampleJob.of`, but of `shard` only the count matters.

        images_per_file: None means about 100 MB of pixels. Raises InputError where a class is unknown.
        """
        whole = SampleJob.of(sampler, num, seed=seed, first=first, temperature=temperature, labels=labels)
        return cls(
            **asdict(whole),
            manifest_sha256=ShippedBundle.of(sampler).manifest_sha256,
            noise_version=NOISE_VERSION,
            images_per_file=images_per_file or power_of_two(_BYTES_IN_FILE, sampler),
            shards=shard[1],
        )

    def files(self, part: SampleJob) -> Ranges:
        """The range of images in each file of one shard. part: the shard, from `SampleJob.of`."""
        return Ranges.of(part.first, part.num, self.images_per_file)


def file_name(start: int, stop: int) -> str:
    """Name of the file with the images `start` … `stop - 1`; names sort in the order of their images."""
    return f"{start:019d}-{stop - 1:019d}.parquet"


def claim(job: ParquetJob, folder: Path) -> None:
    """Write the job's record to the existing `folder`. Raises OutputError if it belongs to another job."""
    record = folder / RECORD_NAME
    remove_unfinished(record)
    if record.exists():
        check_same(job, record)
    elif any(not path.name.startswith(".") for path in folder.iterdir()):
        raise OutputError(
            f"{folder}: contains files that vae-sample --engine ray did not write; choose another --output"
        )
    else:
        write_record(job, record)


def missing(files: Ranges, folder: Path) -> Ranges:
    """The `files` that do not exist in `folder`; existing files are complete."""
    present = {path.name for path in folder.iterdir()}
    return files.only(np.array([file_name(*file) not in present for file in files], dtype=np.bool_))
