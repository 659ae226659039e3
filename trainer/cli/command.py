"""What the trainer's commands share: how they end when something is wrong."""

from __future__ import annotations

from typing import Any

import click

from runtime.cli.command import Command
from runtime.errors import VaeRuntimeError
from trainer.errors import TrainerError


class TrainerCommand(Command):
    """A command of the trainer, which also ends in one sentence where memory runs out."""

    expected = (TrainerError, VaeRuntimeError)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise click.ClickException(
                "there is not enough memory for this; try smaller --batch-size, --hidden, --latent-dim or --draws, "
                "or smaller images"
            ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """torch has a class of its own for a GPU that is full, and only words for a CPU that is."""
    words = ("out of memory", "can't allocate memory", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)
