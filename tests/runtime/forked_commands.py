"""Runs commands in forks of one small process, and measures each: its memory, its time, its words, and SIGTERM.

A program of its own (`python tests/runtime/forked_commands.py`), since the memory of a fork is at least that of its
parent, and pytest with PyTorch in it has much. It reads a JSON object a line, {"command", "arguments", "terminate_s"},
and answers each with one, the fields of `Outcome`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

_MOST_SECONDS = 20.0
_ADDRESS = re.compile(rb"http://127\.0\.0\.1:(\d+)/")
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    """Exit code, or the signal that ended it, negative."""
    seconds: float
    """Until it ended, or, for a server, until it had answered everything."""
    stop_seconds: float | None
    """From SIGTERM to the end, if it was sent."""
    peak_mb: float
    said: str
    """stdout and stderr."""
    statuses: dict[str, int]
    """Of a server: path → HTTP status."""


class Commands:
    """The client's side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Commands]:
        """The process, until the block ends."""
        command = [sys.executable, "-m", "tests.runtime.forked_commands"]
        root = Path(__file__).parent.parent.parent
        with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield cls(process)
            assert process.stdin is not None
            process.stdin.close()

    def run(self, command: str, *arguments: object, terminate_s: float | None = None) -> Outcome:
        """Run `vae-COMMAND`. terminate_s: send SIGTERM after so many seconds, if it has not ended by then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"command": command, "arguments": [str(argument) for argument in arguments]}
        self._process.stdin.write(json.dumps({**request, "terminate_s": terminate_s}) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


def _serve() -> None:
    import onnxruntime  # noqa: F401 (so that no fork loads it anew)

    import runtime.cli
    import runtime.sampler
    import runtime.verify
    import runtime.web

    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as said:
            started = time.monotonic()
            pid = os.fork()
            if pid == 0:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                _run(getattr(runtime.cli, request["command"]), request["arguments"])
            outcome = _watch(pid, started, request, said)
        sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
        sys.stdout.flush()


def _run(command: Any, arguments: list[str]) -> NoReturn:
    """Never returns: what ends a process in order would also end threads of onnxruntime that a fork does not have."""
    code = 0
    try:
        command(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _watch(pid: int, started: float, request: dict[str, object], said: BinaryIO) -> Outcome:
    terminate_s = request["terminate_s"]
    statuses: dict[str, int] = {}
    seconds = peak_mb = 0.0
    told: float | None = None
    ended = status = 0
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        now = time.monotonic()
        if ended or now - started > _MOST_SECONDS:
            break
        peak_mb = max(peak_mb, _peak_mb(pid))
        address = _ADDRESS.search(os.pread(said.fileno(), 10_000, 0)) if request["command"] == "web" else None
        if address and not statuses:
            statuses = _ask_for_everything(int(address[1]), Path(str(request["arguments"][0])))  # type: ignore[index]
            peak_mb = max(peak_mb, _peak_mb(pid))
            seconds = time.monotonic() - started
        if told is None and (statuses or (isinstance(terminate_s, float) and now - started > terminate_s)):
            os.kill(pid, signal.SIGTERM)
            told = time.monotonic()
        time.sleep(0.002)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    said.seek(0)
    return Outcome(
        code=os.waitstatus_to_exitcode(status),
        seconds=seconds or now - started,
        stop_seconds=None if told is None else now - told,
        peak_mb=peak_mb,
        said=said.read().decode(errors="backslashreplace"),
        statuses=statuses,
    )


def _ask_for_everything(port: int, bundle: Path) -> dict[str, int]:
    """Ask the server for whatever the manifest lists."""
    statuses: dict[str, int] = {}
    names = {_MANIFEST, *(path.name for path in bundle.iterdir())}
    for name in sorted(names):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_MOST_SECONDS)
        connection.request("GET", f"/bundle/{name}")
        with connection.getresponse() as response:
            response.read()
            statuses[name] = response.status
        connection.close()
    return statuses


def _peak_mb(pid: int) -> float:
    """Largest resident memory of a process so far; 0 once it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1000 if found else 0.0


if __name__ == "__main__":
    _serve()
