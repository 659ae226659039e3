"""Output to a `.npz` file with images, latents and indices; atomic, in constant memory."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.files.atomic import replacing
from runtime.job import SampleJob, is_record, write_record
from runtime.outputs.foreign import is_archive_of, replacing_ours
from runtime.outputs.space import require_space
from runtime.sampler import Sampler

_ARRAYS = ("images", "latents", "indices")  # which `labels` may follow
_BATCH = 8192  # latents at a time


def write_npz(
    sampler: Sampler,
    job: SampleJob,
    path: Path,
    *,
    force: bool = False,
    batch_size: int | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> int:
    """Write `images` uint8 (num, H, W, C), `latents` float32 (num, L) and `indices` int64 (num,), and where the
    prior has classes `labels` int64 (num,), the class of each image. Returns num.

    force: replace a file that no call wrote. Raises OutputError if the disk is too small or writing fails; `path` is
    then unchanged.
    """
    record = path.with_name(f"{path.name}.json")
    with (
        replacing_ours(path, lambda there: is_archive_of(there, _ARRAYS), "vae-sample", force=force),
        replacing_ours(record, is_record, "vae-sample", force=force),
    ):
        _write(sampler, job, path, batch_size, advance)
        write_record(job, record)
    return job.num


def _write(
    sampler: Sampler, job: SampleJob, path: Path, batch_size: int | None, advance: Callable[[int], object]
) -> None:
    require_space(path, job.num * (job.image_bytes + 4 * sampler.latent_dim + 8))
    batch = batch_size or _BATCH
    starts = range(job.first, job.first + job.num, batch)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:

        def images() -> Iterable[npt.NDArray[Any]]:
            for pixels in sampler.stream(
                job.num,
                seed=job.seed,
                first=job.first,
                temperature=job.temperature,
                label=job.label,
                batch_size=batch_size,
            ):
                yield pixels
                advance(len(pixels))

        def indices() -> Iterable[npt.NDArray[np.int64]]:
            for start in starts:
                yield np.arange(start, min(start + batch, job.first + job.num), dtype=np.int64)

        def latents() -> Iterable[npt.NDArray[Any]]:
            for chosen in indices():
                yield sampler.latents(chosen, seed=job.seed, temperature=job.temperature, label=job.label)

        _add(archive, "images", "|u1", (job.num, *job.image_shape), images())
        _add(archive, "latents", "<f4", (job.num, sampler.latent_dim), latents())
        _add(archive, "indices", "<i8", (job.num,), indices())
        if sampler.classes:
            found = (sampler.labels(chosen, seed=job.seed, label=job.label) for chosen in indices())
            _add(archive, "labels", "<i8", (job.num,), found)


def _add(
    archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...], parts: Iterable[npt.NDArray[Any]]
) -> None:
    """Add an array in parts. ZipInfo's default date is constant, so equal arrays give equal files."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"descr": dtype, "fortran_order": False, "shape": shape})
        for part in parts:
            member.write(np.ascontiguousarray(part, dtype=dtype).data)
