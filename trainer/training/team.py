"""The processes that train one model together under `torchrun`, each on its part of every batch.

All of them draw the same order and the same noise for a whole epoch and take their parts of it, so that any number of
processes trains on what one process would: losses differ by the rounding of sums in another order.
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
_PATIENCE = timedelta(hours=1)  # while one process decodes a folder of images; torchrun itself sees those that die


@dataclass(frozen=True)
class Team:
    """One process's place among them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """The rank among the processes on this machine."""

    @classmethod
    def join(cls, settings: Settings, device: torch.device) -> Team:
        """Connect to the other processes that torchrun has started: over NCCL, one GPU each, or gloo on CPUs.

        A process that torchrun did not start, or only one of, is alone. Raises SettingsError where the settings cannot
        be shared out among so many processes, or there are not so many GPUs.
        """
        if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
            return ALONE
        rank, size, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        if settings.batch_size < size:
            raise SettingsError(
                f"{size} processes cannot share a batch of {settings.batch_size} images, each needs at least one; "
                f"start at most {settings.batch_size} with --nproc-per-node, or give --batch-size {size} or more"
            )
        if settings.batch_norm and device.type == "cpu":
            raise SettingsError(
                "--batch-norm needs the statistics of the whole batch, which torch gathers from several processes on "
                "GPUs alone; train in one process, or without it"
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
            dist.init_process_group("nccl", timeout=_PATIENCE, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=_PATIENCE)
        return cls(rank, size, local_rank)

    def leave(self) -> None:
        """Close the connections, when the last sum is made.

        DistributedDataParallel keeps gloo's threads alive even so, and now and then one of them aborts the process
        while Python shuts down (pytorch issue 190489): end it with `os._exit`.
        """
        if self.size > 1:
            dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes and speaks."""
        return self.rank == 0

    def part(self, images: int) -> slice:
        """This process's images of a batch of so many: parts differ in size by one at most, and may be empty."""
        return slice(images * self.rank // self.size, images * (self.rank + 1) // self.size)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of what every process gives, the same bits in all."""
        if self.size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor

    def connect(self, module: nn.Module) -> nn.Module:
        """`module`, whose backward pass then averages each gradient over all processes.

        The gradients must be there before and are written in place, so that views stay views.
        """
        return DistributedDataParallel(module) if self.size > 1 else module

    def in_turn(self, make: Callable[[], _T]) -> _T:
        """What each process makes for itself, after the first on its machine, which may leave something in a cache."""
        if self.size > 1 and self.local_rank > 0:
            dist.barrier()
        made = make()
        if self.size > 1 and self.local_rank == 0:
            dist.barrier()
        return made

    def from_first(self, make: Callable[[], _T]) -> _T:
        """What the first process makes, in all."""
        made = [make() if self.leads else None]
        if self.size > 1:
            dist.broadcast_object_list(made, src=0)
        return cast(_T, made[0])

    def check_agreement(self, settings: Settings, data_sha256: str) -> None:
        """Raises SettingsError or DataError where these are not those of the first process, on another machine say."""
        first_settings, first_sha256 = self.from_first(lambda: (settings, data_sha256))
        if settings != first_settings:
            raise SettingsError(f"process {self.rank} has other settings than process 0; give all machines the same")
        if data_sha256 != first_sha256:
            raise DataError(
                f"process {self.rank} has other images than process 0: their hash is {data_sha256[:8]}… and not "
                f"{first_sha256[:8]}…; give all machines the same --dataset and --data-dir"
            )


ALONE = Team()
"""A process without others, for which every method is the obvious one."""


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether torch says that another process of the team no longer answers."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)  # gloo has no exception of its own
