"""Connects quietly to Ray: to the cluster that RAY_ADDRESS names, or to a local Ray that it starts."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from runtime.errors import EngineError
from runtime.threads import usable_cpus

_SECONDS_TO_ANSWER = 15.0
_ADDRESS = "RAY_ADDRESS"


@contextmanager
def connected() -> Iterator[None]:
    """Ray, for the length of the block. Where this process is connected already, it stays so.

    Raises EngineError where the cluster does not answer or Ray cannot start.
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
    """Raise EngineError where no Ray answers at `address`, host:port.

    Asked in a process of its own: `ray.init` waits for two minutes, writes to stderr from C++ and then ends the process
    (Ray 2.60). Other kinds of address are Ray's to judge, which it does at once.
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
    """Nothing on stderr while Ray starts: its C++ part announces there that it was told to be quiet."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _silence() -> None:
    """Ray's progress stays on the screen; its logs stay in its own files."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unless the user turns it on
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice against a warning
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ part writes errors to stderr that are none
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
