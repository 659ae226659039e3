"""Take the screenshots of the latent explorer for the documentation and write them to docs/.

    make web test-hosts
    .venv/bin/python tools/explorer_pictures.py runs/latest/bundle

Needs Debian's Chromium and the package playwright, which `make test-hosts` installs.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from runtime import Bundle
from runtime.web import find_site, make_server

DOCS = Path(__file__).parent.parent / "docs"
DESKTOP, PHONE = (1280, 760), (390, 844)
FIVE = [(0.68, 0.2), (0.38, 0.2), (0.34, 0.47), (0.55, 0.42), (0.67, 0.58), (0.6, 0.76), (0.45, 0.8), (0.33, 0.73)]
"""Points of a hand-drawn digit, in fractions of the board's size."""


def main() -> None:
    with serving(Path(sys.argv[1])) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )

        def shot(name: str, hash_: str, theme: str, size: tuple[int, int]) -> None:
            context = browser.new_context(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce")
            page = context.new_page()
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            page.goto(address + hash_)
            page.wait_for_selector("#badge[data-state=passed]")
            if "explore" in hash_:
                page.wait_for_selector("#sliders[data-ordered]")
                page.wait_for_timeout(1500)
            if "draw" in hash_:
                draw(page)
            if name == "parity":
                page.click("#badge")
            page.wait_for_timeout(500)
            page.screenshot(path=DOCS / f"explorer-{name}.png")
            context.close()

        shot("gallery", "#tab=gallery&seed=7", "dark", DESKTOP)
        shot("latents", "#tab=explore&seed=7&index=17", "dark", DESKTOP)
        shot("morph", "#tab=morph&seed=7&from=18&to=25", "light", (1280, 800))
        shot("draw", "#tab=draw", "light", (1280, 800))
        shot("parity", "#tab=gallery&seed=7", "light", DESKTOP)
        shot("phone", "#tab=explore&seed=7&index=17", "dark", PHONE)
        browser.close()


def draw(page: Page) -> None:
    """Draw FIVE on the board."""
    page.wait_for_selector("#draw-result[data-done]")
    box = page.locator("#board").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in FIVE]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


@contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """Serve the explorer for the duration of the block; yields its address."""
    server = make_server(Bundle.open(bundle), find_site(None), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    main()
