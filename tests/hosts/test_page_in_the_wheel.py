"""The wheel alone serves the latent explorer, and `vae-export --site` makes a folder for any web host, at any path."""

from __future__ import annotations

import subprocess
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from export.bundle.site import write_site
from tests.runtime.children import child
from tests.wheel import install_wheel

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_LARGEST_WHEEL = 10_000_000  # bytes; the two builds of onnxruntime-web, without and with WebGPU, take 8 million
_TILES = 60


def assert_page_works(browser: Browser, address: str) -> None:
    """The golden values pass, samples are drawn, and no request leaves the folder."""
    context = browser.new_context()
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.wait_for_selector("#badge[data-state=passed]")
    assert page.locator("#gallery-grid canvas").count() == _TILES
    assert [url for url in requests if not url.startswith((address, "blob:"))] == []
    context.close()


def test_the_wheel_alone_serves_the_page(browser: Browser, site: Path, bundle: Path, tmp_path: Path) -> None:
    """In an environment without torch, far from this checkout."""
    wheel, commands = install_wheel(tmp_path, with_page=True)
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.removeprefix("runtime/explorer/") for name in archive.namelist() if "runtime/explorer/" in name}
    assert packed == {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert wheel.stat().st_size < _LARGEST_WHEEL
    command = [commands / "vae-web", bundle, "--port", "0", "--no-open"]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert_page_works(browser, line.split(" at ")[1].split()[0])


def test_a_static_site_works_below_any_path_of_any_host(
    browser: Browser, site: Path, bundle: Path, tmp_path: Path
) -> None:
    write_site(bundle, tmp_path / "pages" / "my project" / "explorer", page=site)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """The page requests thirty files."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "pages")) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        assert_page_works(browser, f"http://127.0.0.1:{server.server_port}/my%20project/explorer/")
        server.shutdown()
        thread.join()
