"""The record of a sampling job: written next to its output, and compared before an interrupted job is resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import InputError, OutputError
from runtime.files.atomic import replacing
from runtime.files.regular import read_text
from runtime.labels import InTurn, Label
from runtime.machine.description import cpu, versions
from runtime.providers import CPU
from runtime.sampler import Sampler


@dataclass(frozen=True)
class SampleJob:
    """A range of images. Equal jobs give equal bytes on one machine."""

    pair_id: str
    """Pair id of the bundle, a hash of the model's weights and prior."""
    decoder_sha256: str
    precision: str
    seed: int
    temperature: float
    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    first: int
    """Index of the first image."""
    num: int
    labels: tuple[int, ...] | None = field(default=None, kw_only=True)
    """Class numbers: image i is of class labels[i % len(labels)]. None for any class."""
    providers: tuple[str, ...] | None = field(default=None, kw_only=True)
    """Execution providers of onnxruntime; None for the CPU alone."""

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
    ) -> SampleJob:
        """Shard number i of n of the images `first` … `first + num - 1`, for `shard` (i, n), i from 0.

        Shards differ in size by at most one image, and in their order they make the whole. labels: classes by name or
        number, which the images take in turn, by index. Raises InputError where there are more shards than images, or a
        class is unknown.
        """
        which, parts = shard
        if parts > num:
            raise InputError(f"{num} images cannot be divided into {parts} shards; choose at most {num}")
        start, stop = num * which // parts, num * (which + 1) // parts
        record = sampler.bundle.manifest.files[sampler.decoder_file]
        return cls(
            pair_id=sampler.bundle.manifest.metadata.pair_id,
            decoder_sha256=record.sha256,
            precision=sampler.precision,
            seed=seed,
            temperature=temperature,
            image_shape=sampler.pixels_shape,
            first=first + start,
            num=stop - start,
            labels=tuple(sampler.class_number(label) for label in labels) or None,
            providers=sampler.providers if sampler.providers != (CPU,) else None,
        )

    @property
    def label(self) -> InTurn | None:
        """The classes, as `Sampler` takes them."""
        return None if self.labels is None else InTurn(self.labels)

    def described(self) -> dict[str, Any]:
        """The job as a dictionary for JSON. Labels and providers are left out where none were asked for, so that the
        record equals that of versions before these options.
        """
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        height, width, channels = self.image_shape
        return height * width * channels

    def to_json(self) -> str:
        """One line: the job, and the versions and processor that it runs on."""
        return json.dumps({"job": self.described(), "versions": versions(), "cpu": cpu()}, sort_keys=True) + "\n"


def write_record(job: SampleJob, path: Path) -> None:
    """Write the job's line of JSON to the file `path`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(job.to_json(), encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """The job that `write_record` wrote to `path`. Raises OutputError where there is no such record."""
    try:
        record = json.loads(read_text(path))["job"]
        if not isinstance(record, dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(
            f"{path}: holds no record of what was being made, so it cannot go on; remove it and begin again"
        ) from error
    return record


def is_record(path: Path) -> bool:
    """Whether `path` is a file that `write_record` wrote."""
    try:
        return bool(read_record(path))
    except OutputError:
        return False


def check_same(job: SampleJob, path: Path, *, ignoring: tuple[str, ...] = ()) -> None:
    """Raise OutputError, naming the first difference, where the record at `path` is of another job.

    ignoring: names of fields that may differ.
    """
    found = read_record(path)
    for name, value in json.loads(json.dumps(asdict(job))).items():
        if name not in ignoring and found.get(name) != value:
            raise OutputError(
                f"{path}: was begun with {name} {found.get(name)}, which is now {value}; "
                "use the same options, or another --output"
            )
