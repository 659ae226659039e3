"""The work of a Ray worker: draws the images of index ranges."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from runtime.errors import VaeRuntimeError
from runtime.labels import InTurn, Label
from runtime.ray.parquet import ParquetFolder
from runtime.ray.shipped import ShippedBundle
from runtime.sampler import Sampler

_loaded: dict[tuple[str, str, int], Sampler] = {}


@dataclass(frozen=True)
class Draw:
    """Index ranges → the images of these ranges, one batch of rows per range.

    Runs as a stateless task: idle CPUs are free for other steps of the pipeline, and Ray repeats the task elsewhere if
    a worker dies. The Sampler is cached in the worker process for the next task.
    """

    bundle: ray.ObjectRef[ShippedBundle]
    precision: str
    seed: int
    temperature: float
    label: Label | InTurn | None = None

    def __call__(self, batch: dict[str, npt.NDArray[np.int64]]) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """batch: `start` and `images`, int64 (N,). Yields `index` int64 (M,) and `image` uint8 (M, H, W, C), and where
        the prior has classes `label` int64 (M,), the class of each image.
        """
        sampler = loaded_sampler(ray.get(self.bundle), self.precision)
        for start, images in zip(batch["start"].tolist(), batch["images"].tolist(), strict=True):
            index = np.arange(images, dtype=np.int64) + np.int64(start)
            rows: dict[str, npt.NDArray[Any]] = {"index": index, "image": self._draw(sampler, start, start + images)}
            if sampler.classes:
                rows["label"] = sampler.labels(index, seed=self.seed, label=self.label)
            yield rows

    def _draw(self, sampler: Sampler, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The images `start` … `stop - 1`, from whole blocks at their places: bit-identical to `Sampler.stream`'s."""
        low, high = start - start % sampler.block, stop + -stop % sampler.block
        pixels = sampler.sample(high - low, seed=self.seed, first=low, temperature=self.temperature, label=self.label)
        return pixels[start - low : stop - low]


class DrawIntoFiles:
    """Index ranges → one Parquet file each, drawn and written by the same worker, without the object store.

    Runs as an actor, for which Ray queues the next range in advance. Tasks would wait for Ray Data, which polls for
    finished tasks ten times per second: measured with half a second per file, a third of the CPU time was lost.
    """

    def __init__(self, draw: Draw, folder: ParquetFolder) -> None:
        self._draw = draw
        self._folder = folder
        loaded_sampler(ray.get(draw.bundle), draw.precision)

    def __call__(self, batch: dict[str, npt.NDArray[np.int64]]) -> dict[str, list[Any]]:
        """batch: as in `Draw`. Returns for each file `began`, its start in seconds since 1970, and `error`, the reason
        why it could not be written, or "". (Ray Data would hide the message of an exception among its own.)
        """
        began, errors = [], []
        for start, images in zip(batch["start"], batch["images"], strict=True):
            began.append(time.time())
            try:
                for rows in self._draw({"start": np.array([start]), "images": np.array([images])}):
                    self._folder.write(rows["index"], rows["image"], rows.get("label"))
                errors.append("")
            except (VaeRuntimeError, OSError) as error:
                errors.append(" ".join(str(error).split()))
        return {"began": began, "error": errors}


def loaded_sampler(bundle: ShippedBundle, precision: str) -> Sampler:
    """This process's cached Sampler, with one thread per CPU that Ray assigned to the running task."""
    key = bundle.manifest_sha256, precision, cpus_given()
    if key not in _loaded:
        _loaded.clear()  # keep one Sampler: a worker process may serve several jobs, and decoders may be large
        _loaded[key] = Sampler(bundle, precision=precision, threads=key[2])
    return _loaded[key]


def cpus_given() -> int:
    """CPUs that Ray assigned to this task, at least 1."""
    resources: dict[str, float] = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))
