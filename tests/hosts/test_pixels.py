"""The latent explorer reads image files in the same way as the trainer and `vae-reconstruct`."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from runtime.images.decode import fit_pixels, load_image
from tests.hosts.helpers import WEB, missing, run
from tests.runtime.test_decode import ORIENTATIONS, save, scene

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_FIT = """
import { readFileSync } from "node:fs";
const [module, request] = process.argv.slice(2);
const { fit } = await import(module);
for (const { levels, width, height, channels, target } of JSON.parse(readFileSync(request, "utf8")))
  console.log(Buffer.from(fit(Buffer.from(levels, "hex"), width, height, channels, ...target)).toString("hex"));
"""
_OPEN = """async ({ file, shape: [channels, height, width] }) => {
  const { fromFile } = await import("./pixels.js");
  const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
  const { picture } = await fromFile({ channels, height, width, size: channels * height * width }, new Blob([bytes]));
  return [...picture].map((value) => Math.round(255 * value));
}"""


def test_crop_and_resampling_in_javascript_are_pillows_to_the_bit(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        missing("Node is not installed")
    random = np.random.default_rng(0)
    cases, expected = [], []
    for width, height in ((8, 8), (8, 24), (31, 47), (300, 100), (100, 300), (28, 28), (640, 480)):
        for channels in (1, 3):
            for rows, columns in ((28, 28), (16, 24), (64, 9)):
                pixels = random.integers(0, 256, (height, width, channels), np.uint8)
                cases.append(
                    {
                        "levels": pixels.tobytes().hex(),
                        "width": width,
                        "height": height,
                        "channels": channels,
                        "target": [columns, rows],
                    }
                )
                expected.append(fit_pixels(pixels, (channels, rows, columns)).tobytes().hex())
    (tmp_path / "request.json").write_text(json.dumps(cases))
    (tmp_path / "fit.mjs").write_text(_FIT)
    found = run(node, tmp_path / "fit.mjs", (WEB / "src" / "resample.js").as_uri(), tmp_path / "request.json").split()
    assert found == expected


@pytest.mark.parametrize(
    ("kind", "levels"),
    [
        ("gray", 0),
        ("RGB", 0),
        ("palette", 0),
        ("LA", 2),  # canvases round differently when they premultiply alpha
        ("RGBA", 2),
        ("16-bit", 1),  # the browser drops the low byte, the runtime rounds
        ("RGB JPEG", 3),  # decoders differ in chroma upsampling
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_opened_file_has_the_pixels_of_the_recipe(
    browser: Browser, explorer: str, tmp_path: Path, kind: str, levels: int, channels: int
) -> None:
    page = browser.new_page()
    page.goto(explorer)
    shape = (channels, 12, 12)
    for orientation in ORIENTATIONS:
        path = save(tmp_path, f"{orientation}", kind, scene(48, 40), orientation)
        expected = load_image(path, shape)[0].transpose(2, 0, 1).ravel().astype(int)
        file = base64.b64encode(path.read_bytes()).decode()
        found = page.evaluate(_OPEN, {"file": file, "shape": shape})
        assert np.abs(np.array(found) - expected).max() <= levels, orientation
    page.close()
