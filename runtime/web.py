"""Serves the latent explorer and one bundle on this machine, and nothing else."""

from __future__ import annotations

import io
import mimetypes
import socket
import sys
import threading
import time
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from runtime.bundle import Bundle
from runtime.errors import BundleError, InputError, OutputError
from runtime.files.regular import open_regular
from runtime.manifest import MANIFEST_NAME
from runtime.onnx_guard.checked import read_checked

_HOST = "127.0.0.1"
_PACKAGED_SITE = Path(__file__).parent / "explorer"  # in a wheel of `make wheel`
_CHECKOUT_SITE = Path(__file__).parent.parent / "web" / "dist"
_BUNDLE_PATH = "/bundle/"
_MOST_AT_ONCE = 16
_SECONDS_TO_ASK = 10.0  # for a whole request, and for each piece of an answer to be taken
_PIECE = 2**18  # bytes: through a tunnel, 14 MB may take a minute
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
_HEADERS = {
    # A page may share memory between threads only when it is isolated from other origins.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    # Another bundle may be served here next time.
    "Cache-Control": "no-cache",
}


def find_site(folder: Path | None = None) -> Path:
    """The folder of the built page: `folder`, or the page in the installed package, or web/dist of a checkout.

    Raises InputError where there is none.
    """
    candidates = [folder] if folder is not None else [_PACKAGED_SITE, _CHECKOUT_SITE]
    for site in candidates:
        if (site / "index.html").is_file():
            return site
    raise InputError(
        f"{candidates[-1]}: holds no built page; run `make web` in a checkout of vae-toolchain, which needs Node, "
        "or install a wheel that `make wheel` has built"
    )


def make_server(bundle: Bundle, site: Path, port: int) -> ThreadingHTTPServer:
    """A server on loopback, already bound, for the page in `site` with `bundle` below it as `bundle/`.

    The bundle is read anew for every request, through the same checks as everywhere. port: 0 means any that is free.
    Raises OutputError where the port cannot be had.
    """
    routes = {f"/{path.relative_to(site).as_posix()}": path for path in sorted(site.rglob("*")) if path.is_file()}
    routes["/"] = site / "index.html"
    try:
        return _Server((_HOST, port), partial(_Handler, routes, bundle.folder))
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot serve on {_HOST}:{port}: {reason}; choose another --port") from error


class _Server(ThreadingHTTPServer):
    """A few requests at a time; a client that hangs up is no news."""

    daemon_threads = True
    request_queue_size = 128  # with 5, as in the library, clients wait seconds for a second attempt to connect

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._free = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._free.acquire()  # a client of ours asks for six files at most at a time
        try:
            super().process_request(request, client_address)
        except Exception:  # no thread could be started; after a Ctrl-C there may be one, which lets go itself
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Question(io.RawIOBase):
    """What a client sends, for as long as one request may take: one that sends a byte now and then holds no thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.restart()

    def restart(self) -> None:
        """Another request begins."""
        self._deadline = time.monotonic() + _SECONDS_TO_ASK

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(_SECONDS_TO_ASK)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the routes and for the files of the bundle; every other path does not exist."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "vae-web", ""
    timeout = _SECONDS_TO_ASK

    def __init__(self, routes: dict[str, Path], bundle: Path, *args: object) -> None:
        self._routes, self._bundle = routes, bundle
        super().__init__(*args)  # type: ignore[arg-type]

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._question = _Question(self.connection)
        self.rfile = io.BufferedReader(self._question)

    def handle_one_request(self) -> None:
        self._question.restart()
        super().handle_one_request()

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        # A foreign site can point its own name at this machine; then the browser names that host here.
        if _host_name(self.headers.get("Host", "")) not in (_HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = unquote(self.path.partition("?")[0].partition("#")[0])
        try:
            content = self._content(path)
        except BundleError as error:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "damaged bundle", str(error))
            return
        except OSError:
            content = None
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        name = "index.html" if path == "/" else path
        kind = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            for start in range(0, len(content), _PIECE):
                self.wfile.write(content[start : start + _PIECE])

    def _content(self, path: str) -> bytes | None:
        """What lies at a path of the server; None where nothing does. Raises BundleError for a damaged bundle."""
        if path.startswith(_BUNDLE_PATH):
            bundle, name = Bundle.open(self._bundle), path.removeprefix(_BUNDLE_PATH)
            if name == MANIFEST_NAME:
                return bundle.manifest.to_json().encode("utf-8")
            return read_checked(bundle, name) if name in bundle.manifest.files else None
        if path not in self._routes:
            return None
        with open_regular(self._routes[path]) as file:
            return file.read()

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing: a page asks for thirty files."""


def _host_name(host: str) -> str | None:
    """The name in a Host header, without the port; None where it is no name."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
