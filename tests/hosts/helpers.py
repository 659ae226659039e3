"""Helpers for the tests of other hosts.

If a host is missing, its tests are skipped with the reason; with VAE_REQUIRE_HOSTS=1, which `make test-hosts` sets,
they fail.
"""

from __future__ import annotations

import os
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import pytest

from runtime.bundle import Bundle
from runtime.web import make_server

ROOT = Path(__file__).parent.parent.parent
NODE_EXAMPLE = ROOT / "examples" / "node"
WEB = ROOT / "web"


def missing(what: str) -> NoReturn:
    """Report a missing host: skip the test, or fail it if hosts are required."""
    if os.environ.get("VAE_REQUIRE_HOSTS"):
        pytest.fail(f"{what}; VAE_REQUIRE_HOSTS forbids skipping")
    pytest.skip(f"{what}; `make test-hosts` installs it")


def run(*command: object, cwd: Path = ROOT, env: dict[str, str] | None = None, timeout: float = 600) -> str:
    """Output of a command that must succeed."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


class Served:
    """`vae-web` in this process."""

    def __init__(self, folder: Path, site: Path) -> None:
        self._start(make_server(Bundle.open(folder), site, 0))

    def _start(self, server: ThreadingHTTPServer) -> None:
        self.server = server
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


class ServedUnchecked(Served):
    """Any other web host in this process: it serves the page, and a bundle below it, without looking at the files."""

    def __init__(self, folder: Path, site: Path) -> None:
        class Handler(SimpleHTTPRequestHandler):
            def translate_path(self, path: str) -> str:
                name = urlsplit(path).path.lstrip("/")
                return str(folder / name.removeprefix("bundle/") if name.startswith("bundle/") else site / name)

            def log_message(self, *args: object) -> None:
                """Quiet: the page requests thirty files."""

        self._start(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
