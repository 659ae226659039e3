"""Serves the latent explorer and one bundle on this machine, and nothing else."""

from __future__ import annotations

import mimetypes
import shutil
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runtime.bundle import Bundle
from runtime.errors import InputError, OutputError
from runtime.manifest import MANIFEST_NAME

_HOST = "127.0.0.1"
_CHECKOUT_SITE = Path(__file__).parent.parent / "web" / "dist"
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


def find_site(folder: Path | None) -> Path:
    """The folder of the built page: `folder`, or where `make web` puts it in a checkout.

    Raises InputError where there is none.
    """
    site = folder or _CHECKOUT_SITE
    if not (site / "index.html").is_file():
        raise InputError(
            f"{site}: holds no built page; run `make web` in a checkout of vae-toolchain, "
            "and name its web/dist with --site"
        )
    return site


def make_server(bundle: Bundle, site: Path, port: int) -> ThreadingHTTPServer:
    """A server on loopback, already bound, for the page in `site` with `bundle` below it as `bundle/`.

    port: 0 means any that is free. Raises OutputError where the port cannot be had.
    """
    routes = {f"/{path.relative_to(site).as_posix()}": path for path in sorted(site.rglob("*")) if path.is_file()}
    routes["/"] = site / "index.html"
    for name in (MANIFEST_NAME, *bundle.manifest.files):
        routes[f"/bundle/{name}"] = bundle.folder / name
    try:
        return ThreadingHTTPServer((_HOST, port), partial(_Handler, routes))
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot serve on {_HOST}:{port}: {reason}; choose another --port") from error


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the routes; every other path does not exist."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "vae-web", ""

    def __init__(self, routes: dict[str, Path], *args: object) -> None:
        self._routes = routes
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        # A foreign site can point its own name at this machine; then the browser names that host here.
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in (_HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = self._routes.get(unquote(urlsplit(self.path).path))
        try:
            file = None if path is None else path.open("rb")
        except OSError:
            file = None
        if path is None or file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            self.send_response(HTTPStatus.OK)
            kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            if with_body:
                shutil.copyfileobj(file, self.wfile)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing: a page asks for thirty files."""
