"""Fixtures for the tests of other hosts: available hosts, built examples, a served explorer."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest

from export.checks.parts import latents_part
from tests.hosts.helpers import NODE_EXAMPLE, ROOT, WEB, Served, missing, run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# For Debian's Chromium as root in a container: no sandbox, no background network traffic.
_CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_NO_GPU = ["--disable-gpu"]
_GPU_ON_THE_CPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
_table: list[str] = []
_figures: list[str] = []


_BUNDLES = {
    "N(0, I)": "_exported",
    "mixture": "_exported_mixture",
    "mixture without classes": "_exported_unlabelled_mixture",
    "spatial latents": "spatial_bundle",
}


@pytest.fixture(scope="session", params=["VAE_BUNDLE"] if "VAE_BUNDLE" in os.environ else _BUNDLES)
def host_bundle(request: pytest.FixtureRequest) -> Path:
    """The bundle that the hosts run: the small ones of the tests in turn, or the one that VAE_BUNDLE names."""
    if "VAE_BUNDLE" in os.environ:
        return Path(os.environ["VAE_BUNDLE"]).resolve()
    return Path(request.getfixturevalue(_BUNDLES[request.param]))


@pytest.fixture(scope="session")
def open_sampler(host_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The bundle's sampler.onnx with its latents as a second output, and their name."""
    model = onnx.load(host_bundle / "sampler.onnx")
    part = latents_part(model)
    assert part is not None
    (latents,) = (port.name for port in part.graph.output)
    model.graph.output.append(onnx.helper.make_tensor_value_info(latents, onnx.TensorProto.FLOAT, None))
    path = tmp_path_factory.mktemp("open") / "sampler.onnx"
    onnx.save(model, path)
    return path, latents


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node; skips if onnxruntime-node is not installed in the example's folder."""
    found = shutil.which("node")
    if found is None:
        missing("Node is not installed")
    if not (NODE_EXAMPLE / "node_modules" / "onnxruntime-node").is_dir():
        missing("examples/node/node_modules holds no onnxruntime-node")
    return found


@pytest.fixture(scope="session")
def cpp_build() -> Path:
    """The folder with the compiled C++ examples and probes; kept, so that only the first run compiles."""
    for program in ("cmake", "c++"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    folder = ROOT / "build" / "hosts"
    run("cmake", "-S", ROOT / "tests" / "hosts" / "cpp", "-B", folder, f"-DPYTHON={sys.executable}")
    run("cmake", "--build", folder)
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built page, in a folder that no other process of the tests replaces."""
    if shutil.which("node") is None:
        missing("Node is not installed")
    if not (WEB / "node_modules" / "onnxruntime-web").is_dir():
        missing("web/node_modules holds no onnxruntime-web")
    folder = tmp_path_factory.mktemp("page") / "site"
    run("node", WEB / "build.mjs", folder)
    return folder


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[[list[str]], Browser]]:
    """A function that starts Debian's Chromium, without a window and with more flags."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("the Python package playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("Chromium is not installed")
    with sync_playwright() as playwright:
        yield lambda flags: playwright.chromium.launch(executable_path=chromium, args=[*_CHROMIUM_FLAGS, *flags])


@pytest.fixture(scope="session")
def browser(launch: Callable[[list[str]], Browser]) -> Iterator[Browser]:
    """Chromium on a machine without a GPU."""
    browser = launch(_NO_GPU)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def gpu_browser(launch: Callable[[list[str]], Browser]) -> Iterator[Browser]:
    """Chromium with a WebGPU adapter that needs no GPU: SwiftShader."""
    browser = launch(_GPU_ON_THE_CPU)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def explorer(host_bundle: Path, site: Path) -> Iterator[str]:
    """Address of the explorer, which shows `host_bundle`."""
    served = Served(host_bundle, site)
    yield served.address
    served.close()


@pytest.fixture(scope="session")
def conformance_table() -> list[str]:
    """Rows that are printed when all tests are done."""
    return _table


@pytest.fixture(scope="session")
def figures() -> list[str]:
    """Measurements that are printed when all tests are done."""
    return _figures


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _table:
        terminalreporter.section("conformance of the hosts")
        terminalreporter.line("| host | prior | latents | largest image difference | one image |")
        terminalreporter.line("| --- | --- | --- | --- | --- |")
        for row in _table:
            terminalreporter.line(row)
    if _figures:
        terminalreporter.section("the latent explorer")
        for figure in _figures:
            terminalreporter.line(figure)
