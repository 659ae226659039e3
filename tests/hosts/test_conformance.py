"""The same seed draws the same picture in every host: latents bit-identical to NumPy's, images to one grey level."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from runtime import Bundle, Sampler
from tests.hosts.helpers import NODE_EXAMPLE, ROOT, WEB, missing, run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent
TABLE = ROOT / "runtime" / "normal_table_v1.f32"
SEEDS = (0, 7, 2**32 + 1, 2**63 - 1)
INDICES = (0, 1, 5, 2**31, 2**32 + 5, 2**53 + 1, 2**63 - 1)


@dataclass
class Drawn:
    """The results of a host for SEEDS and INDICES, one entry per seed."""

    version: str
    latents: bytes
    """float32, little-endian."""
    images: bytes
    ms: float
    """Median time from seed and index to the pixels of one image."""


def labels_of(folder: Path) -> list[int] | None:
    """A class, or -1 for any, for each of INDICES; None where the bundle has no classes."""
    classes = Sampler(folder).classes
    return [i % (len(classes) + 1) - 1 for i in range(len(INDICES))] if classes else None


def prior_of(folder: Path) -> str:
    """What the hosts draw from, and with which labels: a cell of the table."""
    if not Bundle.open(folder).prior():
        return "N(0, I)"
    return "mixture" if labels_of(folder) is None else "mixture, with and without a class"


@pytest.fixture(scope="session")
def request_file(host_bundle: Path, open_sampler: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The request to JavaScript hosts; integers as text, since JavaScript's are exact only up to 2**53."""
    path = tmp_path_factory.mktemp("request") / "request.json"
    sampler, latents = open_sampler
    path.write_text(
        json.dumps(
            {
                "sampler": str(sampler),
                "latents": latents,
                "table": str(TABLE),
                "latentDim": Bundle.open(host_bundle).manifest.metadata.latent_dim,
                "seeds": [str(seed) for seed in SEEDS],
                "indices": [str(index) for index in INDICES],
                "labels": labels_of(host_bundle),
                "prior": str(host_bundle / "prior.json") if (host_bundle / "prior.json").exists() else None,
            }
        )
    )
    return path


def check(name: str, drawn: Drawn, folder: Path, table: list[str]) -> None:
    """Compare a host with NumPy's noise and this project's sampler, and record its row of the table."""
    sampler = Sampler(folder)
    numbers = labels_of(folder)
    label = None if numbers is None else [None if number < 0 else number for number in numbers]
    expected = np.concatenate([sampler.latents(INDICES, seed=seed, label=label) for seed in SEEDS])
    found = np.frombuffer(drawn.latents, "<u4").reshape(expected.shape)
    equal = found == expected.view("<u4")
    pictures = np.concatenate([sampler.sample_indices(INDICES, seed=seed, label=label) for seed in SEEDS])
    pixels = np.frombuffer(drawn.images, np.uint8).reshape(pictures.shape)
    levels = int(np.abs(pixels.astype(int) - pictures).max())
    bits = "bit-identical" if equal.all() else f"{np.mean(~equal):.1%} differ"
    table.append(f"| {name}: {drawn.version} | {prior_of(folder)} | {bits} | {levels} of 255 | {drawn.ms:.2f} ms |")
    assert equal.all()
    assert levels <= 1


def test_python_with_onnxruntime_alone(
    host_bundle: Path, open_sampler: tuple[Path, str], conformance_table: list[str]
) -> None:
    path, latents = open_sampler
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    labels = labels_of(host_bundle)

    def draw(seed: int, indices: Sequence[int]) -> list[Any]:
        numbers = {"seed": np.array(seed), "index": np.array(indices), "temperature": np.array(1, np.float32)}
        if labels is not None:
            numbers["label"] = np.array(labels[: len(indices)])
        return session.run([latents, "image"], numbers)

    found = [draw(seed, INDICES) for seed in SEEDS]
    times = []
    for index in range(220):
        start = time.perf_counter()
        draw(0, [index])
        times.append(1000 * (time.perf_counter() - start))
    drawn = Drawn(
        f"onnxruntime {onnxruntime.__version__}, Python {sys.version_info.major}.{sys.version_info.minor}",
        b"".join(z.tobytes() for z, _ in found),
        b"".join(image.tobytes() for _, image in found),
        float(np.median(times[20:])),
    )
    check("Python", drawn, host_bundle, conformance_table)


def test_node(node: str, host_bundle: Path, request_file: Path, conformance_table: list[str]) -> None:
    answer = json.loads(run(node, HERE / "probes" / "probe.mjs", NODE_EXAMPLE, WEB / "src", request_file))
    assert answer["own"] == answer["graph"], "noise.js and the graph's own noise differ in Node"
    drawn = Drawn(answer["version"], bytes.fromhex(answer["graph"]), bytes.fromhex(answer["images"]), answer["ms"])
    check("Node", drawn, host_bundle, conformance_table)


def test_chromium(
    browser: Browser,
    explorer: str,
    host_bundle: Path,
    open_sampler: tuple[Path, str],
    request_file: Path,
    conformance_table: list[str],
) -> None:
    """Test the page's modules: noise in JavaScript, noise of the sampler graph in WebAssembly, pictures from both."""
    page = browser.new_page()
    page.goto(explorer)
    page.wait_for_selector("#badge[data-state=passed]")
    request = json.loads(request_file.read_text())
    request["bytes"] = base64.b64encode(open_sampler[0].read_bytes()).decode()
    answer = page.evaluate((HERE / "probes" / "probe_page.js").read_text(), request)
    page.close()
    assert answer["own"] == answer["graph"], "noise.js and the graph's own noise differ in Chromium"
    version = f"onnxruntime-web {answer['version']}, Chromium {browser.version.split('.')[0]}"
    for images in ("images", "decoded"):
        rows: list[str] = []
        drawn = Drawn(version, bytes.fromhex(answer["own"]), bytes.fromhex(answer[images]), answer["ms"])
        check("Browser", drawn, host_bundle, rows)
    conformance_table += rows


def test_cpp_with_libtorch(cpp_build: Path, host_bundle: Path, tmp_path: Path, conformance_table: list[str]) -> None:
    program = cpp_build / "probe_libtorch"
    drawn = drawn_by([program, host_bundle / "sampler.pt"], tmp_path, labels_of(host_bundle))
    check("C++", drawn, host_bundle, conformance_table)


def test_cpp_with_opencv(cpp_build: Path, host_bundle: Path, tmp_path: Path, conformance_table: list[str]) -> None:
    program = cpp_build / "probe_opencv"
    if not program.exists():
        missing("OpenCV is not installed (Debian: libopencv-dnn-dev)")
    if Bundle.open(host_bundle).manifest.latent_shape:
        pytest.skip("OpenCV 4.6 cannot read Clip, which ends the decoders of foreign modules")
    latent_dim = Bundle.open(host_bundle).manifest.metadata.latent_dim
    drawn = drawn_by([program, host_bundle, TABLE, latent_dim], tmp_path, labels_of(host_bundle))
    check("C++", drawn, host_bundle, conformance_table)


def test_the_noise_in_cpp_gives_its_known_answers(cpp_build: Path) -> None:
    assert "to the bit" in run(cpp_build / "examples" / "noise_test", TABLE)


def drawn_by(command: list[object], folder: Path, labels: list[int] | None, version: str | None = None) -> Drawn:
    """What a probe draws: COMMAND LATENTS IMAGES SEED... -- INDEX... -- LABEL... writes both files and prints JSON.

    version: None takes the one that the probe prints.
    """
    files = folder / "latents", folder / "images"
    answer = json.loads(run(*command, *files, *SEEDS, "--", *INDICES, "--", *(labels or [])))
    return Drawn(version or answer["version"], files[0].read_bytes(), files[1].read_bytes(), answer["ms"])
