"""What the trainer's commands share: how they end, and the options that say where they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from runtime.cli.command import Command
from runtime.errors import VaeRuntimeError
from trainer.errors import TrainerError
from trainer.memory import keep_freed_memory
from trainer.spinning import limit_spinning


class TrainerCommand(Command):
    """A command that reports errors of the library, and a lack of memory, in one sentence with exit code 1."""

    expected = (TrainerError, VaeRuntimeError)
    interrupted = "stopped; what was saved before is kept"
    out_of_memory = (
        "there is not enough memory for this; try smaller --batch-size, --hidden, --latent-dim or --draws, "
        "or smaller images"
    )

    def invoke(self, ctx: click.Context) -> Any:
        limit_spinning()
        keep_freed_memory()
        return super().invoke(ctx)

    def is_out_of_memory(self, error: Exception) -> bool:
        """torch has an exception class for a full GPU, but only messages for full CPU memory."""
        words = ("out of memory", "can't allocate memory", "Storage size calculation overflowed")
        return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def device_option(use: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--device`. use: what the command does there, such as "train"."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help=f"Device to {use} on; auto takes a GPU if there is one.",
    )


threads_option = click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads.  [default: torch's choice]")
