"""What the commands share: how they end, `--version`, and the options that mean the same in each."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import click

from runtime.errors import VaeRuntimeError
from runtime.extras import how_to_install
from runtime.lazy import DISTRIBUTION

DEFAULT_BUNDLE = Path("runs/latest/bundle")


class Command(click.Command):
    """What every command of this project shares: `--version`, and mistakes that end in one sentence and exit code 1.

    A subclass names the exceptions that it expects, each of which is a sentence for the user.
    """

    expected: ClassVar[tuple[type[Exception], ...]] = (VaeRuntimeError,)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, then `--version` and `--help`."""
        *own, last = super().get_params(ctx)
        return [*own, _version_option(), last]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except self.expected as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            command = how_to_install(error.name or "")
            if command is None:
                raise
            raise click.ClickException(f"the package {error.name} is not installed; {command}") from error


class RuntimeCommand(Command):
    """A command of the runtime: SIGTERM ends it as Ctrl-C does, and so does a lack of memory, in one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _terminable():
                return super().invoke(ctx)
        except MemoryError as error:
            raise click.ClickException(
                "not enough memory; ask for fewer images, or write to a .npy, which needs no more for more of them"
            ) from error
        except KeyboardInterrupt as error:
            raise click.ClickException("stopped; nothing was written") from error


def _version_option() -> click.Parameter:
    command = click.Command(None)
    click.version_option(package_name=DISTRIBUTION)(command)
    return command.params[0]


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, so that a job that is stopped can clean up."""
    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


bundle_argument = click.argument("bundle", type=click.Path(path_type=Path), default=DEFAULT_BUNDLE)
threads_option = click.option(
    "--threads", type=click.IntRange(1, 1024), help="Compute threads.  [default: the CPUs available to this process]"
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["float32", "int8", "fp16"]),
    default="float32",
    show_default=True,
    help="Weights of the graphs to run; int8 is usually faster on a CPU, fp16 is only smaller.",
)
scale_option = click.option(
    "--scale",
    type=click.IntRange(1, 32),
    default=3,
    show_default=True,
    help="Size of each image pixel in the PNG, in pixels.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
