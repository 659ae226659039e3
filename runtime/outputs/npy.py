"""A `.npy` of any length, written in order, that can be interrupted at any moment and resumed to the same bytes.

While it grows, the file is called `NAME.npy.part`, with the job in `NAME.npy.part.json`; a finished one is `NAME.npy`,
with the job in `NAME.npy.json`. It is appended to rather than mapped into memory: pages of a mapped file count as the
process's own and would grow with it.
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
from runtime.files import remove_unfinished
from runtime.job import SampleJob, check_same, write_record
from runtime.outputs.foreign import require_ours
from runtime.outputs.space import require_space
from runtime.owner import lock_beside, owning
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

    resume: go on with what an interrupted call left, or with a finished file that has been cut short since; where there
    is nothing, begin. force: replace a file that no call wrote. advance: told how many images more are in the file.
    Returns how many this call drew. Raises OutputError where the disk is full or refuses, or where there is an
    interrupted file that `resume` does not ask for, that is of another job, or that another process is writing; what
    was written then stays, to be resumed.
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
    require_ours(path, ours=files.record.exists() or files.part_record.exists(), force=force)
    if part.exists() and not resume:
        raise OutputError(f"{part}: an interrupted run left it; add --resume to go on with it, or remove it")
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
                    batch_size=batch_size,
                ):
                    file.write(pixels.data)
                    advance(len(pixels))
            file.flush()
            os.fsync(file.fileno())
        files.finish()
        return job.num - done
    except OSError as error:
        left = f"; {part} stays, and --resume goes on with it once there is room" if _size(part) else ""
        raise OutputError(f"cannot write {path}: {error.strerror or error}{left}") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _prepare(file: BinaryIO, sampler: Sampler, job: SampleJob, path: Path) -> int:
    """Put the file's position where the next image goes, and say how many images are before it.

    What follows the last whole block is cut off, and that block is drawn again: where it differs, this machine does not
    continue what another began.
    """
    file.seek(0)
    header = _header(job)
    found = file.read(len(header))
    if found != header[: len(found)]:
        raise OutputError(f"{path}: does not begin as an array of these images; remove it and begin again")
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
            batch_size=done - check,
        )
        if file.read(again.nbytes) != again.tobytes():
            raise OutputError(
                f"{path}: its last images differ from what this machine draws for the same indices; "
                "resume on the machine and with the versions that began it, or remove it and begin again"
            )
    file.seek(len(header) + done * job.image_bytes)
    file.truncate()
    return done


def _header(job: SampleJob) -> bytes:
    """The first bytes of the `.npy`, the same for the same job."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": (job.num, *job.image_shape)}
    )
    return buffer.getvalue()
