"""Connects to the Ray cluster named by RAY_ADDRESS, or starts a local one; suppresses Ray's log output."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from runtime.errors import EngineError
from runtime.machine.cpus import usable_cpus

_SECONDS_TO_ANSWER = 15.0
_ADDRESS = "RAY_ADDRESS"


@contextmanager
def connected() -> Iterator[None]:
    """Connect to Ray for the duration of the block. If this process is already connected, that connection is used.

    Raises EngineError if the cluster does not answer or Ray cannot start.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get(_ADDRESS)
    if address is not None:
        _require_answer(address)
    _silence()
    try:
        with _stderr_aside():
            if address is None:
                ray.init(
                    address="local",
                    num_cpus=usable_cpus(),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                )
            else:
                ray.init(log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = "on this machine" if address is None else f"at {address}, which {_ADDRESS} names"
        raise EngineError(f"Ray cannot be used {where}: {' '.join(str(error).split())}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise EngineError if no Ray answers at `address`, host:port.

    Uses a child process, because without an answer `ray.init` waits for two minutes, writes to stderr from C++ and then
    ends the process (Ray 2.60). Other forms of address are not checked here: Ray rejects wrong ones at once.
    """
    if "://" in address or ":" not in address:
        return
    question = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        answered = subprocess.run(question, capture_output=True, timeout=_SECONDS_TO_ANSWER).returncode == 0
    except subprocess.TimeoutExpired:
        answered = False
    if not answered:
        raise EngineError(
            f"no Ray answers at {address}, which {_ADDRESS} names; start one with: ray start --head, "
            f"or unset {_ADDRESS} to use this machine alone"
        )


@contextmanager
def _stderr_aside() -> Iterator[None]:
    """Discard stderr while Ray starts: its C++ part prints a message there even if logging is turned off."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _silence() -> None:
    """Keep Ray's progress bars, but write its logs only to its own log files."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent unless the user enables them
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning, as its text recommends
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ part writes harmless messages to stderr as errors
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
