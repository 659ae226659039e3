"""`python -m trainer` is `vae-train`. Under `torchrun` it is one of several processes: the first speaks for all."""

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
_SECONDS_FOR_OTHERS = 10.0  # torchrun looks for dead processes ten times a second, and then ends the others


def main() -> None:
    """Run `vae-train`, alone or as one of the processes of torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        train(prog_name=_NAME)
        return
    speaks = os.environ["RANK"] == "0"
    try:
        with ExitStack() as silence:
            if not speaks:
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # on Ctrl-C the first says what is saved
                silence.enter_context(redirect_stdout(io.StringIO()))
                silence.enter_context(redirect_stderr(io.StringIO()))
            train.main(prog_name=_NAME, standalone_mode=False)
        _leave(0)
    except click.ClickException as error:
        _end(error, speaks=speaks, last=not speaks)  # most mistakes are met by all, and said by the first
    except click.Abort:
        _end(click.ClickException("interrupted; nothing is lost that was saved"), speaks=speaks, last=False)
    except RuntimeError as error:
        from trainer.training.team import is_lost_connection

        if not is_lost_connection(error):
            raise
        lost = click.ClickException(
            f"process {os.environ['RANK']} lost the connection to another one, which has probably ended; torchrun "
            "names it below as the root cause; every finished epoch is saved: go on with --resume"
        )
        _end(lost, speaks=speaks, last=True)


def _end(error: click.ClickException, *, speaks: bool, last: bool) -> NoReturn:
    """Say what is wrong, on the screen and in torchrun's report, and exit.

    last: let the process with the cause end first; torchrun then reports that one, and ends this one here.
    """
    if speaks:
        error.show()
    if last:
        time.sleep(_SECONDS_FOR_OTHERS)
    if not speaks:
        error.show()
    report = {"message": error.format_message(), "extraInfo": {"timestamp": str(int(time.time()))}}
    Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps({"message": report}))
    _leave(error.exit_code)


def _leave(code: int) -> NoReturn:
    """End without Python's shutdown, in which a thread of gloo can abort the process; see `Team.leave`."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
