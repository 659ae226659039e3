"""The latent explorer in Debian's Chromium: pictures, controls, links and error messages."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from runtime import Bundle, Reconstructor, Sampler
from tests.hosts.helpers import Served, ServedUnchecked
from tests.runtime.children import child

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Reads a copy, because Chromium prints a warning to the console if a page's canvas is read often.
_PIXELS = """canvas => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
    copy.drawImage(canvas, 0, 0);
    return [canvas.width, canvas.height, ...copy.getImageData(0, 0, canvas.width, canvas.height).data];
}"""


_NO_ADAPTER = "No available adapters."  # what Chromium itself prints when a page asks for one in vain


@pytest.fixture
def page(browser: Browser, explorer: str) -> Iterator[Page]:
    """A page in a new browser context; its console must stay empty and its requests on the origin."""
    with Visitor(browser, explorer) as page:
        yield page


class Visitor:
    """A page in a context of its own: at the end its console must be empty, and no request have left the origin."""

    def __init__(self, browser: Browser, address: str, **context: Any) -> None:
        self.address = address
        self.context = browser.new_context(**context)
        self.noise: list[str] = []

    def __enter__(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.noise.append(str(error)))
        page.on("request", self._request)
        return page

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.context.close()
        if error is None:
            assert self.noise == []

    def _console(self, message: Any) -> None:
        if message.text != _NO_ADAPTER:
            self.noise.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "blob:" + self.address)):
            self.noise.append(f"request to {request.url}")


def opened(page: Page, address: str) -> Page:
    """The page once its bundle has passed the golden values."""
    page.goto(address)
    page.wait_for_selector("#badge[data-state=passed]")
    return page


def pixels(page: Page, selector: str) -> npt.NDArray[np.uint8]:
    """The pixels of a canvas: uint8 (H, W, 3)."""
    width, height, *data = page.locator(selector).first.evaluate(_PIXELS)
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def settled(page: Page, selector: str, before: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The pixels of a canvas, as soon as they differ from `before`."""
    for _ in range(100):
        now = pixels(page, selector)
        if now.shape != before.shape or (now != before).any():
            return now
        page.wait_for_timeout(20)
    raise AssertionError(f"{selector} still shows the same picture")


def set_range(page: Page, selector: str, value: float) -> None:
    """Move a slider, as a drag would."""
    page.locator(selector).first.evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )


def test_the_page_loads_with_an_empty_console_and_its_golden_values_pass(page: Page, explorer: str) -> None:
    opened(page, explorer)
    assert page.locator("#gallery-grid canvas").count() == 60
    assert page.locator("#parity-rows tr").count() == 6
    assert page.locator("#parity-rows tr.failed").count() == 0
    page.click("#badge")
    assert page.locator("dialog").is_visible()


def test_seed_7_sample_0_is_the_python_image_to_one_level(page: Page, explorer: str, host_bundle: Path) -> None:
    opened(page, explorer + "#tab=gallery&seed=7&t=0.8")
    expected = Sampler(host_bundle).sample(12, seed=7, temperature=0.8).astype(int)
    for i in (0, 11):
        tile = pixels(page, f"#gallery-grid .tile:nth-child({i + 1}) canvas")
        assert np.abs(tile - expected[i]).max() <= 1


def test_more_pictures_continue_the_same_seed(page: Page, explorer: str, host_bundle: Path) -> None:
    opened(page, explorer + "#tab=gallery&seed=3")
    page.click("#gallery-more")
    page.wait_for_selector("#gallery-grid .tile:nth-child(120)")
    expected = Sampler(host_bundle).sample(1, seed=3, first=119)[0].astype(int)
    assert np.abs(pixels(page, "#gallery-grid .tile:nth-child(120) canvas") - expected).max() <= 1


def test_a_slider_changes_the_picture_and_reset_brings_it_back(page: Page, explorer: str) -> None:
    opened(page, explorer + "#tab=explore&seed=7&index=5")
    page.wait_for_selector("#sliders[data-ordered]")
    before = pixels(page, "#explore-picture")
    set_range(page, "#sliders input", 2.5)
    moved = settled(page, "#explore-picture", before)
    page.click("#explore-reset")
    assert (settled(page, "#explore-picture", moved) == before).all()


def test_a_picture_moves_from_its_class_to_another_as_in_python(page: Page, explorer: str, host_bundle: Path) -> None:
    prior = Bundle.open(host_bundle).prior()
    if prior is None or not prior.classes:
        opened(page, explorer + "#tab=explore")
        assert not page.locator("#way").is_visible()
        return
    z = prior.latents(7, [3])
    own = int(prior.class_of(z)[0])
    reconstructor = Reconstructor(host_bundle)

    def expected(start: int, amount: float) -> npt.NDArray[np.int64]:
        return reconstructor.decode(z + amount * (prior.class_mean(to) - prior.class_mean(start)))[0].astype(int)

    to, other = (own + 1) % len(prior.classes), (own + 2) % len(prior.classes)
    opened(page, explorer + f"#tab=explore&seed=7&index=3&toward={to}&amount=0.75")
    shown = pixels(page, "#explore-picture")
    assert np.abs(shown - expected(own, 0.75)).max() <= 1
    page.select_option("#way-from", str(other))
    shown = settled(page, "#explore-picture", shown)
    assert np.abs(shown - expected(other, 0.75)).max() <= 1
    set_range(page, "#way-amount", -1)
    shown = settled(page, "#explore-picture", shown)
    assert np.abs(shown - expected(other, -1)).max() <= 1
    page.click("#explore-reset")
    assert np.abs(settled(page, "#explore-picture", shown) - expected(own, 0)).max() <= 1


def test_a_moved_slider_stays_where_it_was_put_on_the_way_to_a_class(
    page: Page, explorer: str, host_bundle: Path
) -> None:
    prior = Bundle.open(host_bundle).prior()
    if prior is None or not prior.classes:
        return
    opened(page, explorer + "#tab=explore&seed=7&index=3&start=0&toward=1&amount=1")
    page.wait_for_selector("#sliders[data-ordered]")
    set_range(page, "#sliders input", 1.25)
    page.wait_for_selector(".slider.edited")
    assert page.locator("#sliders output").first.inner_text() == "1.25"


def test_at_1280_by_800_controls_are_one_line_and_the_panels_end_in_sight(browser: Browser, explorer: str) -> None:
    with Visitor(browser, explorer, viewport={"width": 1280, "height": 800}) as page:
        opened(page, explorer + "#tab=explore&seed=7")
        page.wait_for_selector("#sliders[data-ordered]")
        tabs, link = page.locator("#tabs").bounding_box(), page.locator("#link").bounding_box()
        assert tabs is not None
        assert link is not None
        assert tabs["y"] < link["y"]
        assert link["y"] + link["height"] < tabs["y"] + tabs["height"]
        for panel in page.locator("#room-explore .panel").all():
            box = panel.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= 800


def test_of_hundreds_of_latents_the_most_active_are_shown_and_the_rest_folded_away(
    browser: Browser, site: Path, spatial_bundle: Path
) -> None:
    served = Served(spatial_bundle, site)
    with Visitor(browser, served.address) as page:
        opened(page, served.address + "#tab=explore")
        page.wait_for_selector("#sliders[data-ordered]")
        shares = page.eval_on_selector_all(
            "#sliders .slider i", "marks => marks.map(mark => Number(mark.style.getPropertyValue('--share')))"
        )
        assert len(shares) == 4 * 6 * 6
        assert shares == sorted(shares, reverse=True)
        assert page.locator("#sliders .slider:visible").count() == 32
        assert page.inner_text("#sliders-all") == "All 144 latents"
        page.click("#sliders-all")
        assert page.locator("#sliders .slider:visible").count() == 144
    served.close()


def test_a_slider_move_is_a_new_picture_within_a_frame(page: Page, explorer: str, figures: list[str]) -> None:
    """16 ms is the frame of a 60 Hz screen; the median of 100 moves, from the event to the drawn canvas."""
    opened(page, explorer + "#tab=explore")
    page.wait_for_selector("#sliders[data-ordered]")
    page.wait_for_selector("#plane[data-drawn]")
    for i in range(100):
        set_range(page, "#sliders input", -2 + 0.04 * i)
        page.wait_for_timeout(10)
    times = page.evaluate("() => performance.getEntriesByName('slider to picture').map(entry => entry.duration)")
    figures.append(f"slider to picture: median {np.median(times):.2f} ms of {len(times)} moves")
    assert len(times) >= 50
    assert np.median(times) < 16


def test_the_first_picture_comes_soon_and_costs_few_bytes(page: Page, explorer: str, figures: list[str]) -> None:
    opened(page, explorer)
    first = page.evaluate("() => performance.getEntriesByName('first picture')[0].startTime")
    sizes = page.evaluate("() => performance.getEntriesByType('resource').map(entry => entry.encodedBodySize)")
    figures.append(f"page to first picture: {first:.0f} ms; {sum(sizes):,} bytes in {len(sizes)} requests")
    assert sum(sizes) < 25_000_000
    assert first < 10_000  # a loose limit for a busy machine; the documented figure is printed above


def test_dragging_over_the_plane_moves_two_latents(page: Page, explorer: str) -> None:
    opened(page, explorer + "#tab=explore&seed=7")
    page.wait_for_selector("#plane[data-drawn]")
    before = pixels(page, "#explore-picture")
    box = page.locator("#plane").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 10, box["y"] + box["height"] - 10, steps=4)
    page.mouse.up()
    settled(page, "#explore-picture", before)
    assert page.locator(".slider.edited").count() == 2


def test_the_plane_answers_to_arrow_keys(page: Page, explorer: str) -> None:
    opened(page, explorer + "#tab=explore&seed=7")
    page.locator("#plane").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".slider.edited")
    assert page.locator(".slider.edited").count() == 2


def test_a_link_shows_the_same_picture_to_another_visitor(page: Page, explorer: str, browser: Browser) -> None:
    opened(page, explorer + "#tab=explore&seed=12&index=3&t=0.7")
    page.wait_for_selector("#sliders[data-ordered]")
    before = pixels(page, "#explore-picture")
    set_range(page, "#sliders input", -2.25)
    shown = settled(page, "#explore-picture", before)
    page.wait_for_timeout(300)  # the address is updated 0.2 s later
    with Visitor(browser, explorer) as other:
        opened(other, page.url)
        assert (pixels(other, "#explore-picture") == shown).all()


def test_playing_moves_from_one_sample_to_the_other(page: Page, explorer: str, host_bundle: Path) -> None:
    opened(page, explorer + "#tab=morph&seed=7&from=1&to=2&at=0")
    page.wait_for_selector("#morph-strip .tile:nth-child(11)")
    ends = Sampler(host_bundle).sample(2, seed=7, first=1).astype(int)
    assert np.abs(pixels(page, "#morph-strip .tile:first-child canvas") - ends[0]).max() <= 1
    assert np.abs(pixels(page, "#morph-strip .tile:last-child canvas") - ends[1]).max() <= 1
    before = pixels(page, "#morph-picture")
    page.click("#morph-play")
    settled(page, "#morph-picture", before)
    page.click("#morph-play")
    assert page.inner_text("#morph-play") == "Play"


def test_a_drawing_is_seen_and_reconstructed(page: Page, explorer: str) -> None:
    opened(page, explorer + "#tab=draw")
    page.wait_for_selector("#draw-result[data-done]")
    nothing = pixels(page, "#draw-output")
    box = page.locator("#board").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    settled(page, "#draw-output", nothing)
    assert pixels(page, "#draw-input").max() > 100
    page.click("#draw-explore")
    page.wait_for_selector("#room-explore:not([hidden]) .slider.edited")


def test_an_empty_board_shows_no_latents_and_nothing_to_explore(page: Page, explorer: str) -> None:
    opened(page, explorer + "#tab=draw")
    page.wait_for_selector("#draw-result[data-done=empty]")
    assert page.locator("#draw-latents i").count() == 0
    assert page.locator("#draw-explore").is_disabled()
    assert (pixels(page, "#draw-output") == pixels(page, "#draw-input")).all()


def test_latents_of_an_image_are_in_the_order_of_the_sliders(page: Page, explorer: str) -> None:
    opened(page, explorer + "#tab=draw")
    page.wait_for_selector("#draw-result[data-done]")
    page.click("#draw-examples button:nth-child(1)")
    page.wait_for_selector("#draw-result[data-done=drawn]")
    bars = page.eval_on_selector_all("#draw-latents i", "bars => bars.map(bar => bar.title.match(/z(\\d+)/)[1])")
    page.click("#draw-explore")
    page.wait_for_selector("#sliders[data-ordered]")
    titles = page.eval_on_selector_all(".slider", "rows => rows.map(row => row.title.match(/latent (\\d+)/)[1])")
    assert bars == titles[:64]
    assert len(bars) > 1


def test_the_strip_of_a_morph_is_in_sight(browser: Browser, explorer: str) -> None:
    with Visitor(browser, explorer, viewport={"width": 1280, "height": 800}) as page:
        opened(page, explorer + "#tab=morph")
        page.wait_for_selector("#morph-strip .tile:nth-child(11)")
        box = page.locator("#morph-strip .tile").first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 800


def test_a_test_image_is_reconstructed_as_in_python(page: Page, explorer: str, host_bundle: Path) -> None:
    opened(page, explorer + "#tab=draw")
    page.wait_for_selector("#draw-result[data-done]")
    before = pixels(page, "#draw-output")
    page.click("#draw-examples button:nth-child(2)")
    shown = settled(page, "#draw-output", before)
    seen = pixels(page, "#draw-input")[None, :, :, :1]
    assert seen.max() > 100
    assert np.abs(shown - Reconstructor(host_bundle).reconstruct(seen)[0].astype(int)).max() <= 1


def test_a_picture_can_be_saved(page: Page, explorer: str, host_bundle: Path, tmp_path: Path) -> None:
    opened(page, explorer + "#tab=explore&seed=7&index=2")
    with page.expect_download() as download:
        page.click("#explore-save")
    download.value.save_as(tmp_path / "saved.png")
    assert download.value.suggested_filename == "seed-7-2.png"
    with Image.open(tmp_path / "saved.png") as image:
        saved = np.asarray(image.convert("L"))[8::16, 8::16].astype(int)
    assert np.abs(saved - Sampler(host_bundle).sample(1, seed=7, first=2)[0, :, :, 0]).max() <= 1


def test_the_tabs_answer_to_arrow_keys(page: Page, explorer: str) -> None:
    opened(page, explorer)
    page.locator("#tab-gallery").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#room-morph").is_visible()
    assert page.evaluate("() => document.activeElement.id") == "tab-morph"


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_nothing_is_cut_off_on_a_phone(browser: Browser, explorer: str, scheme: Any) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": scheme}
    with Visitor(browser, explorer, **phone) as page:
        opened(page, explorer)
        for tab in ("gallery", "explore", "morph", "draw"):
            page.tap(f"#tab-{tab}")
            page.wait_for_selector(f"#room-{tab}:not([hidden]) canvas")
            assert page.evaluate("() => document.documentElement.scrollWidth") == 390


class TestWithAnotherBundle:
    """A damaged or missing bundle gives a message, never a blank page."""

    @pytest.fixture
    def told(self, browser: Browser, site: Path, bundle: Path) -> Iterator[Any]:
        """A function that returns the message that the page shows for `bundle` on a web host that checks nothing."""
        served = ServedUnchecked(bundle, site)
        context = browser.new_context()

        def tell(path: str = "") -> str:
            page = context.new_page()
            page.goto(served.address + path)
            page.wait_for_selector("#message:not([hidden])")
            assert page.locator("#badge").get_attribute("data-state") == "none"
            return page.inner_text("#message-text")

        yield tell
        context.close()
        served.close()

    def test_a_missing_bundle(self, told: Any) -> None:
        assert "manifest.json cannot be loaded (404)" in told("?bundle=elsewhere")

    def test_another_origin(self, told: Any) -> None:
        assert "is on another origin" in told("?bundle=http://localhost:1/bundle")

    def test_a_damaged_file(self, told: Any, bundle: Path) -> None:
        content = bytearray((bundle / "decoder.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / "decoder.onnx").write_bytes(content)
        assert "decoder.onnx: its sha256 differs" in told()

    def test_a_short_file(self, told: Any, bundle: Path) -> None:
        (bundle / "decoder.onnx").write_bytes(b"short")
        assert re.search("decoder.onnx: should be [0-9,]+ bytes but is 5", told())

    def test_graphs_of_different_models(self, told: Any, bundle: Path) -> None:
        edit(bundle, lambda manifest: manifest["metadata"].update(pair_id="0" * 16))
        assert "belongs to another model" in told()

    def test_another_noise(self, told: Any, bundle: Path) -> None:
        edit(bundle, lambda manifest: manifest["metadata"].update(noise_version=2))
        assert "noise_version is 2" in told()

    def test_a_manifest_that_is_no_json(self, told: Any, bundle: Path) -> None:
        (bundle / "manifest.json").write_text("{")
        assert "not valid JSON" in told()

    def test_a_picture_of_another_size_than_promised(self, told: Any, bundle: Path) -> None:
        edit(bundle, lambda manifest: manifest["metadata"].update(image_shape=[1, 9, 9]))
        assert "makes pictures of 1×12×12 where manifest.json says 1×9×9" in told()


def edit(bundle: Path, change: Any) -> None:
    """Change the manifest of a bundle."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_wrong_golden_values_show_a_failed_badge(browser: Browser, site: Path, bundle: Path) -> None:
    golden = json.loads((bundle / "golden.json").read_text())
    golden["latents"]["data"][3] += 0.5
    content = json.dumps(golden).encode()
    (bundle / "golden.json").write_bytes(content)
    edit(
        bundle,
        lambda manifest: manifest["files"].update(
            {"golden.json": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
        ),
    )
    served = Served(bundle, site)
    with Visitor(browser, served.address) as page:
        page.goto(served.address)
        page.wait_for_selector("#badge[data-state=failed]")
        page.click("#badge")
        assert "39 of 40 equal" in page.inner_text("#parity-rows tr.failed:first-child")
    served.close()


def test_a_plain_file_server_under_a_sub_path_will_do(
    browser: Browser, site: Path, bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(site, tmp_path / "www" / "deep" / "page")
    shutil.copytree(bundle, tmp_path / "www" / "deep" / "page" / "bundle")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", tmp_path / "www"]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = re.search(r"port (\d+)", server.stdout.readline())
        assert port is not None
        address = f"http://127.0.0.1:{port[1]}/deep/page/"
        try:
            with Visitor(browser, address) as page:
                opened(page, address)
        finally:
            server.terminate()


def test_a_folder_chosen_from_the_disk_replaces_the_bundle(
    page: Page, explorer: str, bundle: Path, host_bundle: Path
) -> None:
    opened(page, explorer + "#tab=gallery&seed=7")
    page.evaluate("() => document.getElementById('badge').dataset.state = 'running'")
    page.locator("#folder").set_input_files(bundle)
    page.wait_for_selector("#badge[data-state=passed]")
    expected = Sampler(bundle).sample(1, seed=7)[0].astype(int)
    assert np.abs(pixels(page, "#gallery-grid canvas") - expected).max() <= 1


@pytest.mark.parametrize("system", ["dark", "light"])
def test_colours_are_the_systems_until_the_visitor_chooses(browser: Browser, explorer: str, system: Any) -> None:
    with Visitor(browser, explorer, color_scheme=system) as page:
        opened(page, explorer)

        def luminance(layer: str) -> float:
            colour = page.evaluate(f"getComputedStyle(document.body).{layer}")
            return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 / 255

        def looks() -> str:
            ground, text = luminance("backgroundColor"), luminance("color")
            if ground < 0.2 and text > 0.8:
                return "dark"
            return "light" if ground > 0.8 and text < 0.2 else "neither"

        other: Any = "light" if system == "dark" else "dark"
        assert looks() == system
        page.emulate_media(color_scheme=other)
        assert looks() == other
        page.click("#theme")
        assert looks() == system
        for change in (system, other):
            page.emulate_media(color_scheme=change)
            assert looks() == system
