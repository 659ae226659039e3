"""Data-parallel training under `torchrun`: each process trains on its part of every batch.

Every rank draws the data order and the noise of the whole epoch and uses its part. Every world size therefore trains on
the same batches, and losses differ only by rounding, because sums are taken in a different order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.errors import DataError, SettingsError
from trainer.settings import Settings

_T = TypeVar("_T")
_TIMEOUT = timedelta(hours=1)  # time for one rank to decode a large image folder; torchrun detects dead processes


@dataclass(frozen=True)
class Team:
    """Rank and world size of this process, and the collective operations of the training."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Rank among the processes on this machine."""

    @classmethod
    def join(cls, settings: Settings, device: torch.device) -> Team:
        """Connect to the other processes started by torchrun: over NCCL with one GPU each, or over gloo on CPUs.

        Returns ALONE without torchrun, or with a world size of 1. Raises SettingsError if these settings cannot be
        split over so many processes, or if this machine has fewer GPUs than processes.
        """
        if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
            return ALONE
        rank, world_size, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        if settings.batch_size < world_size:
            raise SettingsError(
                f"{world_size} processes cannot share a batch of {settings.batch_size} images, each needs at least "
                f"one; start at most {settings.batch_size} with --nproc-per-node, or give --batch-size {world_size} "
                "or more"
            )
        if settings.batch_norm and device.type == "cpu":
            raise SettingsError(
                "--batch-norm needs the statistics of the whole batch, which torch gathers from several processes "
                "only on GPUs; train in one process, or without batch normalisation"
            )
        if device.type == "cuda":
            gpus = torch.cuda.device_count()
            if local_rank >= gpus:
                raise SettingsError(
                    f"process {local_rank + 1} on this machine has no GPU of its own, there are {gpus}; "
                    f"start at most {gpus} with --nproc-per-node, or train with --device cpu"
                )
            torch.cuda.set_device(local_rank)
            device = torch.device("cuda", local_rank)
            dist.init_process_group("nccl", timeout=_TIMEOUT, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=_TIMEOUT)
        return cls(rank, world_size, local_rank)

    def leave(self) -> None:
        """Close the connections after the last collective operation.

        DistributedDataParallel keeps gloo's threads alive even then, and occasionally one of them aborts the process
        during Python's shutdown (pytorch issue 190489): end the process with `os._exit`.
        """
        if self.world_size > 1:
            dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, the only one that prints and writes files."""
        return self.rank == 0

    def part(self, images: int) -> slice:
        """This rank's slice of a batch of `images` images. Slices differ in size by at most one, and may be empty."""
        return slice(images * self.rank // self.world_size, images * (self.rank + 1) // self.world_size)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all ranks, bit-identical on each of them."""
        if self.world_size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor

    def connect(self, module: nn.Module) -> nn.Module:
        """`module`, or with several ranks a wrapper whose backward pass averages gradients over all ranks.

        Gradients must already be allocated. They are written in place, so views of them stay valid.
        """
        return DistributedDataParallel(module) if self.world_size > 1 else module

    def in_turn(self, make: Callable[[], _T]) -> _T:
        """Call `make()` on every rank; on each machine, local rank 0 runs first and the others use its cache."""
        if self.world_size > 1 and self.local_rank > 0:
            dist.barrier()
        made = make()
        if self.world_size > 1 and self.local_rank == 0:
            dist.barrier()
        return made

    def from_first(self, make: Callable[[], _T]) -> _T:
        """The result of `make()` on rank 0, sent to all ranks; it must be picklable."""
        made = [make() if self.leads else None]
        if self.world_size > 1:
            dist.broadcast_object_list(made, src=0)
        return cast(_T, made[0])

    def check_agreement(self, settings: Settings, data_sha256: str) -> None:
        """Raise SettingsError or DataError if settings or data differ from those of rank 0."""
        first_settings, first_sha256 = self.from_first(lambda: (settings, data_sha256))
        if settings != first_settings:
            raise SettingsError(f"rank {self.rank} has other settings than rank 0; give all machines the same")
        if data_sha256 != first_sha256:
            raise DataError(
                f"rank {self.rank} has other images than rank 0: their hash is {data_sha256[:8]}… and not "
                f"{first_sha256[:8]}…; give all machines the same --dataset and --data-dir"
            )


ALONE = Team()
"""A single process: rank 0, world size 1; no method communicates."""


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether the error means that the connection to another rank is lost."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)  # gloo has no exception class
