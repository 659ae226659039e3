"""Output to a `.npy` file of any length, which can be interrupted at any moment and resumed to the same bytes.

An unfinished file is called `NAME.npy.part`, with the job in `NAME.npy.part.json`; a finished one is `NAME.npy`, with
the job in `NAME.npy.json`. Images are appended instead of using a memory map, whose pages would count towards the
process's memory.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from runtime.errors import OutputError
from runtime.files.atomic import remove_unfinished
from runtime.files.owner import lock_beside, owning
from runtime.job import SampleJob, check_same, is_record, read_record, write_record
from runtime.outputs.foreign import require_ours
from runtime.outputs.space import require_space
from runtime.sampler import Sampler


def write_npy(
    sampler: Sampler,
    job: SampleJob,
    path: Path,
    *,
    resume: bool,
    force: bool = False,
    batch_size: int | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> int:
    """Write the images of `job` to `path` as uint8 (num, H, W, C).

    resume: continue the unfinished file of an interrupted call, or a finished one that has been cut short since, if
    there is one. force: replace a file that no call wrote. advance: called with the number of images added. Returns
    the number of images drawn by this call. Raises OutputError if the disk is full or writing fails, or if there is an
    unfinished file and `resume` is False, it belongs to another job, or another process is writing it. An unfinished
    file is never removed, so it can be resumed.
    """
    with owning(path, lock_beside(path)):
        return _write(sampler, job, _Files.of(path), resume, force, batch_size, advance)


@dataclass(frozen=True)
class _Files:
    """The array and the note of its job, finished and not."""

    path: Path
    record: Path
    part: Path
    part_record: Path

    @classmethod
    def of(cls, path: Path) -> _Files:
        part = path.with_name(f"{path.name}.part")
        return cls(path, path.with_name(f"{path.name}.json"), part, part.with_name(f"{part.name}.json"))

    def finish(self) -> None:
        """The array comes first: until its note follows, the unfinished note says what the array is."""
        if self.part.exists():
            self.part.replace(self.path)
        if self.part_record.exists():
            self.part_record.replace(self.record)

    def begin_again(self) -> None:
        """Call a finished array unfinished."""
        self.record.replace(self.part_record)
        self.path.replace(self.part)


def _write(
    sampler: Sampler,
    job: SampleJob,
    files: _Files,
    resume: bool,
    force: bool,
    batch_size: int | None,
    advance: Callable[[int], object],
) -> int:
    path, part = files.path, files.part
    for record in (files.record, files.part_record):
        remove_unfinished(record)
        if resume and record.exists():
            read_record(record)  # raises where it is none
        require_ours(record, ours=is_record(record), force=force, command="vae-sample")
    noted = files.record.exists() or files.part_record.exists()
    require_ours(path, ours=noted, force=force, command="vae-sample")
    if part.exists() and not resume:
        raise OutputError(f"{part}: left by an interrupted run; continue it with --resume, or remove it")
    if not part.exists() and path.exists() and files.part_record.exists():
        files.finish()
    if resume and not part.exists() and path.exists() and files.record.exists():
        check_same(job, files.record)
        if path.stat().st_size == len(_header(job)) + job.num * job.image_bytes:
            advance(job.num)
            return 0
        files.begin_again()
    present = _size(part)
    require_space(path, job.num * job.image_bytes - present)
    try:
        with part.open("r+b" if part.exists() else "x+b") as file:
            if present:
                check_same(job, files.part_record if files.part_record.exists() else files.record)
            else:
                write_record(job, files.part_record)
            done = _prepare(file, sampler, job, part)
            advance(done)
            if done < job.num:
                for pixels in sampler.stream(
                    job.num - done,
                    seed=job.seed,
                    first=job.first + done,
                    temperature=job.temperature,
                    label=job.label,
                    batch_size=batch_size,
                ):
                    file.write(pixels.data)
                    advance(len(pixels))
            file.flush()
            os.fsync(file.fileno())
        files.finish()
        return job.num - done
    except OSError as error:
        left = f"; {part} is kept, and --resume continues it once there is space" if _size(part) else ""
        raise OutputError(f"cannot write {path}: {error.strerror or error}{left}") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _prepare(file: BinaryIO, sampler: Sampler, job: SampleJob, path: Path) -> int:
    """Seek to the position of the next image and return the number of images before it.

    Images after the last whole block are cut off, and that block is drawn again for comparison. If it differs, the file
    was begun on a machine or with versions that round differently, and continuing it is an error.
    """
    file.seek(0)
    header = _header(job)
    found = file.read(len(header))
    if found != header[: len(found)]:
        raise OutputError(f"{path}: is not an array of images of this job; remove it and start again")
    if len(found) < len(header):
        file.seek(0)
        file.truncate()
        file.write(header)
        return 0
    images = min(job.num, (file.seek(0, os.SEEK_END) - len(header)) // job.image_bytes)
    aligned = max(0, images - (job.first + images) % sampler.block)
    done = images if images == job.num else aligned
    check = max(0, done - sampler.block)
    if done:
        file.seek(len(header) + check * job.image_bytes)
        (again,) = sampler.stream(
            done - check,
            seed=job.seed,
            first=job.first + check,
            temperature=job.temperature,
            label=job.label,
            batch_size=done - check,
        )
        if file.read(again.nbytes) != again.tobytes():
            raise OutputError(
                f"{path}: its last images differ from those that this machine draws for the same indices; "
                "resume on the machine and with the versions that began it, or remove it and start again"
            )
    file.seek(len(header) + done * job.image_bytes)
    file.truncate()
    return done


def _header(job: SampleJob) -> bytes:
    """The header of the `.npy` file."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": (job.num, *job.image_shape)}
    )
    return buffer.getvalue()
