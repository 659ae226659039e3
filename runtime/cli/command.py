"""What the commands share: how they end, `--version`, `--debug`, and the options that mean the same in each."""

from __future__ import annotations

import errno
import math
import traceback
from pathlib import Path
from typing import Any, ClassVar

import click

from runtime.cli.signals import interruptible
from runtime.cli.streams import give_up_stdout, open_closed_streams
from runtime.errors import VaeRuntimeError
from runtime.extras import how_to_install
from runtime.lazy import DISTRIBUTION
from runtime.text import printable

_HANDLED_BY_CLICK = (click.ClickException, click.Abort, click.exceptions.Exit)
_LIMITS = (errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE)  # of the operating system, which anything may reach
_DEBUG, _STDOUT = "debug", "stdout was open"
DEFAULT_BUNDLE = Path("runs/latest/bundle")


class Command(click.Command):
    """Base of every command of this project: adds `--version` and `--debug`, and turns every error into one sentence.

    Mistakes of a user end with exit code 1 or 2. SIGTERM and SIGHUP end a command as Ctrl-C does. The commands of the
    runtime use this class itself; those of the other packages override the attributes below.
    """

    expected: ClassVar[tuple[type[Exception], ...]] = (VaeRuntimeError,)
    """Exceptions whose message is a sentence for the user."""
    interrupted: ClassVar[str] = "stopped; nothing was written"
    """Message after Ctrl-C: what the command leaves."""
    out_of_memory: ClassVar[str] = (
        "not enough memory; ask for fewer images, or write to a .npy, which needs no more for more of them"
    )

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, then `--debug`, `--version` and `--help`."""
        *own, last = super().get_params(ctx)
        return [*own, _debug_option(), _version_option(), last]

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Parse and run, as click does, with standard streams that are open and signals that interrupt."""
        was_open = open_closed_streams()
        with interruptible():
            return super().main(*args, obj={_STDOUT: was_open}, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command line."""
        try:
            return super().make_context(*args, **kwargs)
        except _HANDLED_BY_CLICK as error:
            _escape(error)
            raise
        except Exception as error:
            raise self._unexpected(error, debug=False) from error

    def invoke(self, ctx: click.Context) -> Any:
        debug = ctx.params.pop(_DEBUG, False)
        try:
            return super().invoke(ctx)
        except _HANDLED_BY_CLICK as error:
            _show_traceback(error, debug)
            _escape(error)
            raise
        except self.expected as error:
            _show_traceback(error, debug)
            raise click.ClickException(printable(str(error), keep="\n")) from error
        except ModuleNotFoundError as error:
            command = how_to_install(error.name or "")
            if command is None:
                raise self._unexpected(error, debug) from error
            raise click.ClickException(f"the package {error.name} is not installed; {command}") from error
        except KeyboardInterrupt as error:
            raise click.ClickException(self.interrupted) from error
        except BrokenPipeError:
            raise  # click ends quietly where nobody reads any more
        except Exception as error:
            raise self._unexpected(error, debug) from error

    def _unexpected(self, error: Exception, debug: bool) -> click.ClickException:
        """The last handler: one sentence for what no other has foreseen."""
        _show_traceback(error, debug)
        if self.is_out_of_memory(error):
            return click.ClickException(self.out_of_memory)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EBADF, errno.EIO) and not error.filename:
            give_up_stdout()
            return click.ClickException(f"cannot write the output: {error.strerror}")
        if isinstance(error, OSError) and error.errno in _LIMITS:
            name = "" if error.filename is None else f"{printable(str(error.filename))}: "
            return click.ClickException(f"{name}{error.strerror}")
        said = printable(" ".join(str(error).split()))
        return click.ClickException(
            f"{type(error).__name__}{f': {said}' if said else ''}; this should not happen, please report it"
            + ("" if debug else " with what --debug shows")
        )

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether the error means that memory has run out."""
        return isinstance(error, MemoryError)


def stdout_was_open() -> bool:
    """Whether the command was started with a stdout."""
    return bool((click.get_current_context().obj or {}).get(_STDOUT, True))


def _escape(error: BaseException) -> None:
    """Escape control characters in the message: an argument may be the name of somebody else's file, by a wildcard."""
    if isinstance(error, click.ClickException):
        error.message = printable(error.message, keep="\n")  # type: ignore[misc] # final, says click


def _show_traceback(error: BaseException, debug: bool) -> None:
    if debug:
        click.echo(printable("".join(traceback.format_exception(error)), keep="\n"), err=True)


def _debug_option() -> click.Parameter:
    return click.Option(["--debug"], is_flag=True, help="Show the traceback of an error.")


def _version_option() -> click.Parameter:
    command = click.Command(None)
    click.version_option(package_name=DISTRIBUTION)(command)
    return command.params[0]


class NumberRange(click.FloatRange):
    """A number between bounds. click's own range takes NaN, which is neither below nor above any bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{number} is no number.", param, ctx)
        return number


bundle_argument = click.argument("bundle", type=click.Path(path_type=Path), default=DEFAULT_BUNDLE)
temperature_option = click.option(
    "--temperature",
    type=NumberRange(0, 100),
    default=1.0,
    show_default=True,
    help="Factor on the noise: below 1 gives more typical images, above 1 more unusual ones.",
)
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
provider_option = click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="Execution provider of onnxruntime, such as openvino, cuda or coreml; given several times, the first one is "
    "preferred. The CPU computes the rest only if cpu is one of them.  [default: cpu]",
)
scale_option = click.option(
    "--scale",
    type=click.IntRange(1, 32),
    default=3,
    show_default=True,
    help="Size of each image pixel in the PNG, in pixels.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
