"""Where and how a run computes: its device, CUDA graphs, and the processes that train together."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainer.device import choose_device
from trainer.errors import SettingsError
from trainer.settings import Settings
from trainer.training.steps.gemm import has_bf16
from trainer.training.team import ALONE, Team


@dataclass(frozen=True)
class Execution:
    """Decides the speed of a run and where it computes; never what it computes, apart from rounding."""

    device: torch.device
    graph: bool = True
    """Run the training step as a CUDA graph. Has no effect on a CPU, or when several processes train together."""
    team: Team = ALONE
    """This process's place among the processes that train one model together under torchrun."""

    @classmethod
    def choose(
        cls, settings: Settings, *, device: str = "auto", graph: bool = True, threads: int | None = None
    ) -> Execution:
        """Set up this process: choose the device, set torch's CPU thread count, join the processes of torchrun.

        device: auto (a GPU if there is one), cpu or cuda. threads: None keeps torch's default. Raises SettingsError if
        this machine has no such device or cannot train these settings on it, see `check`, or if the settings cannot be
        split over the processes, see `Team.join`.
        """
        chosen = choose_device(device)
        cls(chosen).check(settings)
        if threads is not None:
            torch.set_num_threads(threads)
        return cls(chosen, graph, Team.join(settings, chosen))

    def check(self, settings: Settings) -> None:
        """Raise SettingsError if the device cannot compute in the precision of `settings`."""
        if settings.precision == "bf16" and not has_bf16(self.device):
            raise SettingsError("--precision bf16: this processor has no bf16 instructions; use --precision float32")

    def describe(self) -> str:
        """Device, threads and processes in a few words."""
        on_cpu = self.device.type == "cpu"
        where = f"cpu, {torch.get_num_threads()} threads" if on_cpu else torch.cuda.get_device_name()
        return where if self.team.world_size == 1 else f"{where}, in each of {self.team.world_size} processes"


ON_CPU = Execution(torch.device("cpu"))
"""One process on the CPU, with torch's current number of threads."""
