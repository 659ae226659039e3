"""The explorer's decoder on WebGPU: used if its golden values pass there, left for WebAssembly in every other case.

The adapter is SwiftShader, which runs shaders on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from runtime import Sampler
from tests.hosts.helpers import Served
from tests.hosts.test_explorer import Visitor, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_WASM_BUILD = {"ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"}
_WEBGPU_BUILD = {"ort.jspi.min.mjs", "ort-wasm-simd-threaded.jspi.mjs", "ort-wasm-simd-threaded.jspi.wasm"}

_COUNT_CALLS = """
    globalThis.calls = 0;
    const submit = GPUQueue.prototype.submit;
    GPUQueue.prototype.submit = function (...given) { globalThis.calls++; return submit.apply(this, given); };
"""
_KEEP_DEVICE = """
    const requestDevice = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...given) {
        return (globalThis.device = await requestDevice.apply(this, given));
    };
"""
_LOSE_DEVICE_AT_THE_FIRST_ANSWER = (
    _KEEP_DEVICE
    + """
    const mapAsync = GPUBuffer.prototype.mapAsync;
    GPUBuffer.prototype.mapAsync = function (...given) {
        globalThis.device.destroy();
        return mapAsync.apply(this, given);
    };
"""
)
# Adds 0.1 to the first pixel of every answer of at least LEAST bytes.
_WRONG_ANSWERS = """
    const getMappedRange = GPUBuffer.prototype.getMappedRange;
    GPUBuffer.prototype.getMappedRange = function (...given) {
        const range = getMappedRange.apply(this, given);
        if (this.usage & GPUBufferUsage.MAP_READ && range.byteLength >= LEAST) new Float32Array(range)[0] += 0.1;
        return range;
    };
"""
_TILES = """tiles => tiles.map(tile => {
    const copy = new OffscreenCanvas(tile.width, tile.height).getContext("2d", {willReadFrequently: true});
    copy.drawImage(tile, 0, 0);
    return [...copy.getImageData(0, 0, tile.width, tile.height).data].filter((_, i) => i % 4 == 0);
})"""


@pytest.fixture
def served(bundle: Path, site: Path) -> Iterator[str]:
    """Address of the explorer with the tiny model."""
    server = Served(bundle, site)
    yield server.address
    server.close()


def where(page: Page) -> str:
    """What the badge says that the decoder runs on, once the golden values have passed."""
    page.wait_for_selector("#badge[data-state=passed]")
    return page.inner_text("#badge-where")


def reason(page: Page) -> str:
    """The notes below the table of the golden values, which say why."""
    page.wait_for_selector("#parity-notes:not(:empty)", state="attached")
    return page.text_content("#parity-notes") or ""


def requested(page: Page, folder: str) -> list[str]:
    """The files of a folder that the page has requested, each as often as it was."""
    names = page.evaluate("() => performance.getEntriesByType('resource').map(entry => entry.name)")
    return [name.rpartition("/")[2] for name in names if f"/{folder}/" in name]


def builds(page: Page) -> set[str]:
    """The files of onnxruntime-web that the page has requested."""
    return set(requested(page, "vendor"))


def gallery(page: Page, seed: int) -> npt.NDArray[np.int64]:
    """The gallery of a seed, drawn now: gray levels (60, pixels)."""
    page.fill("#seed", str(seed))
    page.press("#seed", "Enter")
    page.wait_for_selector(f"#gallery-grid[data-drawn*=' {seed} ']")
    return np.array(page.eval_on_selector_all("#gallery-grid canvas", _TILES))


def expected(bundle: Path, seed: int) -> npt.NDArray[np.int64]:
    """What Python draws of a seed: gray levels (60, pixels)."""
    return Sampler(bundle).sample(60, seed=seed)[..., 0].reshape(60, -1).astype(np.int64)


def test_the_gpu_draws_the_pictures_of_webassembly_to_one_level(
    browser: Browser, gpu_browser: Browser, explorer: str, host_bundle: Path
) -> None:
    """Fully connected, with a class of a mixture, and with transposed convolutions."""
    state = "#seed=3&class=1" if Sampler(host_bundle).classes else "#seed=3"
    with Visitor(gpu_browser, explorer) as page:
        page.add_init_script(_COUNT_CALLS)
        opened(page, explorer + state)
        assert where(page) == "WebGPU"
        assert "The decoder runs on WebGPU." in reason(page)
        before = page.evaluate("() => calls")
        on_gpu = gallery(page, 8)
        assert page.evaluate("() => calls") > before
    with Visitor(browser, explorer) as page:
        opened(page, explorer + state)
        assert where(page) == "WebAssembly"
        in_wasm = gallery(page, 8)
    assert np.abs(on_gpu - in_wasm).max() <= 1
    assert in_wasm.max() > 100


def test_a_browser_fetches_one_build_and_the_larger_one_only_for_an_adapter(
    browser: Browser, gpu_browser: Browser, served: str
) -> None:
    for visited, build in ((browser, _WASM_BUILD), (gpu_browser, _WEBGPU_BUILD)):
        with Visitor(visited, served) as page:
            opened(page, served)
            gallery(page, 8)
            assert builds(page) == build
            assert len(requested(page, "vendor")) == len(build)
            assert len(requested(page, "bundle")) == len(set(requested(page, "bundle")))


@pytest.mark.parametrize("rows", [1, 8, 64])
def test_a_gpu_that_computes_wrong_is_not_used(gpu_browser: Browser, served: str, bundle: Path, rows: int) -> None:
    """Wrong everywhere, wrong from the golden values' own number of rows on, and wrong in full batches alone."""
    with Visitor(gpu_browser, served) as page:
        page.add_init_script(_WRONG_ANSWERS.replace("LEAST", str(4 * 144 * rows)))
        opened(page, served)
        assert where(page) == "WebAssembly"
        assert 'in WebAssembly, because WebGPU fails the check "Decoder": 1.0e-1, limit 0.00001' in reason(page)
        assert np.abs(gallery(page, 8) - expected(bundle, 8)).max() <= 1


def test_a_lost_gpu_is_replaced_without_a_word_of_error(gpu_browser: Browser, served: str, bundle: Path) -> None:
    with Visitor(gpu_browser, served) as page:
        page.add_init_script(_KEEP_DEVICE)
        opened(page, served)
        assert where(page) == "WebGPU"
        reason(page)  # which is written last
        page.evaluate("() => device.destroy()")
        page.wait_for_selector("#badge-where:text('WebAssembly')")
        assert where(page) == "WebAssembly"
        assert np.abs(gallery(page, 8) - expected(bundle, 8)).max() <= 1
        assert "because the browser lost the GPU" in reason(page)
        assert page.locator("#message").is_hidden()
        assert builds(page) == _WEBGPU_BUILD


def test_a_gpu_lost_while_it_draws_leaves_no_gap(gpu_browser: Browser, served: str, bundle: Path) -> None:
    with Visitor(gpu_browser, served) as page:
        page.add_init_script(_KEEP_DEVICE)
        opened(page, served)
        assert where(page) == "WebGPU"
        page.evaluate("() => { GPUQueue.prototype.submit = () => device.destroy(); }")
        assert np.abs(gallery(page, 8) - expected(bundle, 8)).max() <= 1
        page.wait_for_selector("#badge-where:text('WebAssembly')")
        assert page.locator("#message").is_hidden()


_OBSTACLES = {
    "no WebGPU": ("delete Navigator.prototype.gpu", "because this browser has no WebGPU"),
    "no JSPI": ("delete WebAssembly.Suspending", "because WebGPU needs JavaScript Promise Integration"),
    "no adapter": ("GPU.prototype.requestAdapter = async () => null", "because this browser offers no GPU adapter"),
    "no answer": (
        "GPU.prototype.requestAdapter = () => new Promise(() => {})",
        "because this browser offers no GPU adapter",
    ),
    "a refusal": (
        "GPU.prototype.requestAdapter = async () => { throw new Error('blocked') }",
        "because this browser refuses a GPU adapter: blocked",
    ),
    "no device": (
        "GPUAdapter.prototype.requestDevice = async () => { throw new Error('busy') }",
        "because WebGPU fails: ",
    ),
    "a device lost at its first answer": (_LOSE_DEVICE_AT_THE_FIRST_ANSWER, "because "),
}


@pytest.mark.parametrize(("script", "why"), _OBSTACLES.values(), ids=_OBSTACLES)
def test_without_a_usable_gpu_the_page_works_and_says_why(
    gpu_browser: Browser, served: str, bundle: Path, script: str, why: str
) -> None:
    with Visitor(gpu_browser, served) as page:
        page.add_init_script(script)
        opened(page, served)
        assert where(page) == "WebAssembly"
        assert f"The decoder runs in WebAssembly, {why}" in reason(page)
        assert np.abs(gallery(page, 8) - expected(bundle, 8)).max() <= 1


def test_the_address_can_ask_for_webassembly(gpu_browser: Browser, served: str) -> None:
    with Visitor(gpu_browser, served) as page:
        opened(page, served + "?backend=wasm")
        assert where(page) == "WebAssembly"
        assert "as the address asks" in reason(page)
        assert builds(page) == _WASM_BUILD


def test_a_phone_shows_the_badge_and_both_buttons_in_one_line(browser: Browser, served: str) -> None:
    phone: Any = {"viewport": {"width": 390, "height": 844}, "is_mobile": True}
    with Visitor(browser, served, **phone) as page:
        opened(page, served)
        boxes = [page.locator(name).bounding_box() for name in ("#badge", "#open", "#theme")]
        assert len({round(box["y"] + box["height"] / 2) for box in boxes if box}) == 1
