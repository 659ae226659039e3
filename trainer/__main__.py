"""`python -m trainer` is `vae-train`. Under `torchrun` it is one of several ranks; rank 0 prints for all of them."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

import click

from trainer.cli.train import train

_NAME = "python -m trainer"
_SECONDS_FOR_OTHERS = 10.0  # torchrun polls for dead processes ten times a second, then ends the others


def main() -> None:
    """Run `vae-train`, alone or as one rank of torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        train(prog_name=_NAME)
        return
    prints = os.environ["RANK"] == "0"
    try:
        with ExitStack() as silence:
            if not prints:
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # on Ctrl-C, rank 0 says what is saved
                silence.enter_context(redirect_stdout(io.StringIO()))
                silence.enter_context(redirect_stderr(io.StringIO()))
            train.main(prog_name=_NAME, standalone_mode=False)
        _leave(0)
    except click.ClickException as error:
        if _has_lost_connection(error):
            error = click.ClickException(
                f"rank {os.environ['RANK']} lost the connection to another rank, which has probably ended; torchrun "
                "names it below as the root cause; every finished epoch is saved: continue with --resume"
            )
            _end(error, prints=prints, last=True)
        _end(error, prints=prints, last=not prints)  # most mistakes occur on all ranks; rank 0 prints them
    except click.Abort:
        _end(click.ClickException("interrupted; everything that was saved is kept"), prints=prints, last=False)


def _has_lost_connection(error: click.ClickException) -> bool:
    from trainer.training.team import is_lost_connection

    return isinstance(error.__cause__, RuntimeError) and is_lost_connection(error.__cause__)


def _end(error: click.ClickException, *, prints: bool, last: bool) -> NoReturn:
    """Print the error, write it to torchrun's error file, and exit.

    last: wait, so that the rank with the cause ends first; torchrun then reports that rank and ends this one.
    """
    if prints:
        error.show()
    if last:
        time.sleep(_SECONDS_FOR_OTHERS)
    if not prints:
        error.show()
    report = {"message": error.format_message(), "extraInfo": {"timestamp": str(int(time.time()))}}
    if error_file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        Path(error_file).write_text(json.dumps({"message": report}))
    _leave(error.exit_code)


def _leave(code: int) -> NoReturn:
    """Exit without Python's shutdown, during which a gloo thread can abort the process; see `Team.leave`."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
