"""What a folder of Parquet files is to hold, and in which files: the same for every shard and for every resumption."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from runtime.errors import OutputError
from runtime.job import SampleJob, check_same, write_record
from runtime.noise import NOISE_VERSION
from runtime.ray.ranges import Ranges, power_of_two
from runtime.ray.shipped import ShippedBundle
from runtime.sampler import Sampler

RECORD_NAME = "_vae-sample.json"
"""Readers of Parquet folders pass over names with an underscore."""
_BYTES_IN_FILE = 2**27
"""Bytes of pixels that a worker holds at a time."""


@dataclass(frozen=True)
class ParquetJob(SampleJob):
    """A folder of Parquet files. `first` and `num` are of all its images, whichever shard draws them."""

    manifest_sha256: str
    noise_version: int
    images_per_file: int
    shards: int
    """Parts into which the images are divided. No file reaches over from one part into another."""

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
        images_per_file: int | None = None,
    ) -> ParquetJob:
        """The folder that the parts of these images fill together. images_per_file: None means about 100 MB of pixels.

        Raises InputError where there are more parts than images.
        """
        whole = SampleJob.of(sampler, num, seed=seed, first=first, temperature=temperature)
        return cls(
            **asdict(whole),
            manifest_sha256=ShippedBundle.of(sampler).manifest_sha256,
            noise_version=NOISE_VERSION,
            images_per_file=images_per_file or power_of_two(_BYTES_IN_FILE, sampler),
            shards=shard[1],
        )

    def files(self, part: SampleJob) -> Ranges:
        """The images of each file of one part of this job."""
        return Ranges.of(part.first, part.num, self.images_per_file)


def file_name(start: int, stop: int) -> str:
    """Name of the file with the images `start` … `stop - 1`; names sort in the order of their images."""
    return f"{start:019d}-{stop - 1:019d}.parquet"


def claim(job: ParquetJob, folder: Path) -> None:
    """Note in `folder`, which exists, that it is this job's. Raises OutputError where it is anything else's."""
    record = folder / RECORD_NAME
    if record.exists():
        check_same(job, record)
    elif any(not path.name.startswith(".") for path in folder.iterdir()):
        raise OutputError(
            f"{folder}: holds something that vae-sample --engine ray did not write; choose another --output"
        )
    else:
        write_record(job, record)


def missing(files: Ranges, folder: Path) -> Ranges:
    """Those of `files` that are not in `folder`. Each that is there is complete."""
    present = {path.name for path in folder.iterdir()}
    return files.only(np.array([file_name(*file) not in present for file in files], dtype=np.bool_))
