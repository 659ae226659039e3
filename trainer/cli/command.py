"""The base class of the trainer's commands: turns errors into one sentence and an exit code."""

from __future__ import annotations

from typing import Any

import click

from runtime.cli.command import Command
from runtime.errors import VaeRuntimeError
from trainer.errors import TrainerError
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
        return super().invoke(ctx)

    def is_out_of_memory(self, error: Exception) -> bool:
        """torch has an exception class for a full GPU, but only messages for full CPU memory."""
        words = ("out of memory", "can't allocate memory", "Storage size calculation overflowed")
        return isinstance(error, MemoryError) or any(word in str(error) for word in words)
