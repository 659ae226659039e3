"""The C source of the hosts' bundle: rows of the conformance table, images that are the same to the bit among them, and
examples that run in a folder of their own with the commands of their README."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from export.bundle.build import export_bundle
from export.c_source.write import READ_FOR_C, read_networks, write_c
from runtime import Bundle, Sampler
from tests.hosts.helpers import ROOT, missing, run
from tests.hosts.test_conformance import INDICES, SEEDS, Drawn, check, drawn_by, labels_of
from trainer.checkpoint import load_checkpoint
from trainer.training.run_folder import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent
ONNXRUNTIME_EXAMPLE = ROOT / "examples" / "onnxruntime-c"
# name in the table → compiler, flags, and what runs the program
NATIVE = {
    "C, gcc": (["gcc", "-O3", "-march=native"], []),
    "C, clang": (["clang", "-O3", "-march=native"], []),
    "C, AArch64": (["aarch64-linux-gnu-gcc", "-O2", "-static"], ["qemu-aarch64"]),
    "C, 32-bit ARM": (["arm-linux-gnueabihf-gcc", "-O2", "-static"], ["qemu-arm"]),
}
WASM_FLAGS = ["-O3", "-msimd128", "-ffreestanding", "-nostdlib", "-Wl,--no-entry,--export-all,-z,stack-size=1048576"]
# language → the programs it needs, its files, what builds the probe in a folder that holds these and the C source, and
# what prints its version
BOUND = {
    "Go": (
        ["go", "cc"],
        ["examples/go/go.mod", "examples/go/generator.go", "tests/hosts/probes/probe.go"],
        [["go", "build", "-o", "probe", "."]],
        ["go", "version"],
    ),
    "Rust": (
        ["rustc", "cc", "ar"],
        ["examples/rust/generator.rs", "examples/rust/shape.c", "tests/hosts/probes/probe.rs"],
        [
            ["cc", "-O2", "-c", "generator.c", "shape.c"],
            ["ar", "rcs", "libgenerator.a", "generator.o", "shape.o"],
            ["rustc", "-O", "--edition", "2021", "-L", ".", "probe.rs"],
        ],
        ["rustc", "--version"],
    ),
}
# example → the programs it needs, and the pictures that its commands draw
EXAMPLES = {
    "c": (["cc", "python3"], ["digit.pgm", "digit_python.pgm"]),
    "go": (["go", "cc"], ["digit.png"]),
    "rust": (["rustc", "cc", "ar"], ["digit.pgm"]),
    "onnxruntime-c": (["cc"], ["digit.pgm"]),
    "web-minimal": (["clang", "wasm-ld"], []),
}
_images: dict[Path, dict[str, bytes]] = defaultdict(dict)  # of each bundle, by host


@pytest.fixture(scope="module")
def c_source(host_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the C source of the hosts' bundle."""
    bundle = Bundle.open(host_bundle)
    decoder, encoder = (bundle.read(bundle.graph_file(name, "onnx")) for name in READ_FOR_C)
    sources = write_c(read_networks(decoder, encoder), bundle.manifest.metadata, bundle.prior())
    folder = tmp_path_factory.mktemp("c")
    (folder / "generator.h").write_text(sources.header)
    (folder / "generator.c").write_text(sources.source)
    return folder


@pytest.mark.parametrize("host", NATIVE)
def test_c_draws_what_every_host_draws(
    host: str, c_source: Path, host_bundle: Path, tmp_path: Path, conformance_table: list[str]
) -> None:
    (compiler, *flags), emulator = NATIVE[host]
    for needed in (compiler, *emulator):
        if shutil.which(needed) is None:
            missing(f"{needed} is not installed")
    program = tmp_path / "probe"
    run(
        compiler, *flags, "-I", c_source, HERE / "probes" / "probe_generator.c", c_source / "generator.c", "-o", program
    )
    files = tmp_path / "latents", tmp_path / "images"
    answer = json.loads(run(*emulator, program, *files, *SEEDS, "--", *INDICES))
    version = run(compiler, "--version").splitlines()[0] + (f", {emulator[0]}" if emulator else "")
    drawn = Drawn(version, files[0].read_bytes(), files[1].read_bytes(), answer["ms"])
    check(host, drawn, host_bundle, conformance_table)
    same_as_the_others(host_bundle, host, drawn.images)


def test_webassembly_draws_what_every_host_draws(
    c_source: Path, host_bundle: Path, tmp_path: Path, conformance_table: list[str]
) -> None:
    for program in ("clang", "wasm-ld", "node"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    module = tmp_path / "generator.wasm"
    run("clang", "--target=wasm32", *WASM_FLAGS, c_source / "generator.c", "-o", module)
    files = tmp_path / "latents", tmp_path / "images"
    metadata = Bundle.open(host_bundle).manifest.metadata
    classes = len(Sampler(host_bundle).classes)
    sizes = metadata.latent_dim, int(np.prod(metadata.image_shape)), classes
    answer = json.loads(
        run("node", HERE / "probes" / "probe_generator.mjs", module, *sizes, *files, *SEEDS, "--", *INDICES)
    )
    drawn = Drawn(answer["version"], files[0].read_bytes(), files[1].read_bytes(), answer["ms"])
    check("C, WebAssembly", drawn, host_bundle, conformance_table)
    same_as_the_others(host_bundle, "C, WebAssembly", drawn.images)


@pytest.mark.parametrize("host", BOUND)
def test_go_and_rust_draw_what_every_host_draws(
    host: str, c_source: Path, host_bundle: Path, tmp_path: Path, conformance_table: list[str]
) -> None:
    """Through the files of the examples that a reader would copy."""
    programs, files, commands, version = BOUND[host]
    for program in programs:
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    for path in (*(ROOT / name for name in files), *c_source.iterdir()):
        shutil.copy(path, tmp_path)
    for command in commands:
        run(*command, cwd=tmp_path)
    drawn = drawn_by([tmp_path / "probe"], tmp_path, labels_of(host_bundle), run(*version).strip())
    check(f"{host}, C source", drawn, host_bundle, conformance_table)
    same_as_the_others(host_bundle, host, drawn.images)


def same_as_the_others(bundle: Path, host: str, images: bytes) -> None:
    drawn = _images[bundle]
    drawn[host] = images
    assert len(set(drawn.values())) == 1, f"{host} differs from {', '.join(set(drawn) - {host})}"


@pytest.fixture(scope="module")
def bundle_with_c(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with_c") / "bundle"
    export_bundle(load_checkpoint(tiny_run.best), folder, formats=("onnx", "c"))
    return folder


@pytest.fixture
def own_folder(request: pytest.FixtureRequest, bundle_with_c: Path, tmp_path: Path) -> Path:
    """A folder that holds one example, as git tracks it, and a bundle; its README's commands have run there."""
    example = request.param
    for program in EXAMPLES[example][0]:
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    for name in run("git", "ls-files", "-z", f"examples/{example}").split("\0"):
        if name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(bundle_with_c, tmp_path / "runs" / "latest" / "bundle")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    folder = tmp_path / "examples" / example
    (commands,) = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    run("bash", "-euo", "pipefail", "-c", commands, cwd=tmp_path)
    return folder


@pytest.mark.parametrize("own_folder", ["c", "go", "rust", "onnxruntime-c"], indirect=True)
def test_an_example_runs_in_a_folder_of_its_own(own_folder: Path, bundle_with_c: Path) -> None:
    expected = Sampler(bundle_with_c).sample(1, seed=7)[0, :, :, 0].astype(int)
    for name in EXAMPLES[own_folder.name][1]:
        with Image.open(own_folder / name) as image:
            assert np.abs(np.asarray(image.convert("L")).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_onnxruntime_from_c_draws_every_class(compiler: str, host_bundle: Path, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        missing(f"{compiler} is not installed")
    program = _linked_with_onnxruntime(compiler, ONNXRUNTIME_EXAMPLE / "sample.c", tmp_path)
    library = _onnxruntime_library()
    sampler = Sampler(host_bundle)
    for label in (None, *range(len(sampler.classes))):
        picture = tmp_path / "picture.pgm"
        run(program, library, host_bundle / "sampler.onnx", 7, 2**40, picture, *([] if label is None else [label]))
        expected = sampler.sample_indices([2**40], seed=7, label=label)[0, ..., 0].astype(int)
        with Image.open(picture) as image:
            assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1
    with pytest.raises(AssertionError, match=r"onnxruntime: Load model from nowhere\.onnx failed"):
        run(program, library, "nowhere.onnx", 7, 0, tmp_path / "none.pgm")


def test_onnxruntime_from_c_draws_what_every_host_draws(
    host_bundle: Path, open_sampler: tuple[Path, str], tmp_path: Path, conformance_table: list[str]
) -> None:
    if shutil.which("cc") is None:
        missing("cc is not installed")
    program = _linked_with_onnxruntime("cc", HERE / "probes" / "probe_onnxruntime.c", tmp_path)
    version = f"onnxruntime {onnxruntime.__version__}, {run('cc', '--version').splitlines()[0]}"
    command = [program, _onnxruntime_library(), *open_sampler]
    drawn = drawn_by(command, tmp_path, labels_of(host_bundle), version)
    check("C, onnxruntime's C API", drawn, host_bundle, conformance_table)


def _linked_with_onnxruntime(compiler: str, source: Path, folder: Path) -> Path:
    program = folder / "linked"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", ONNXRUNTIME_EXAMPLE]
    run(compiler, *flags, source, ONNXRUNTIME_EXAMPLE / "sampler.c", "-ldl", "-o", program)
    return program


def _onnxruntime_library() -> Path:
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    return library


@pytest.fixture
def served(own_folder: Path) -> Iterator[str]:
    """Address of the example's page."""
    handler = partial(QuietHandler, directory=str(own_folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("own_folder", ["web-minimal"], indirect=True)
def test_the_minimal_page_draws_what_every_host_draws(
    own_folder: Path, served: str, browser: Browser, bundle_with_c: Path
) -> None:
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(served)
    page.wait_for_function("document.getElementById('status').textContent !== 'Loading…'")
    assert "the self-test passed" in page.inner_text("#status")
    sampler = Sampler(bundle_with_c)
    channels, height, width = sampler.image_shape
    assert channels == 1

    def shown(place: int) -> np.ndarray:
        rectangle = f"{place % 8 * width}, {place // 8 * height}, {width}, {height}"
        context = "document.querySelector('canvas').getContext('2d')"
        values = page.evaluate(f"Array.from({context}.getImageData({rectangle}).data)")
        return np.array(values).reshape(height, width, 4)[..., 0]

    def close(seed: int, temperature: float) -> bool:
        expected = sampler.sample(64, seed=seed, temperature=temperature)[..., 0].astype(int)
        return all(np.abs(shown(place) - expected[place]).max() <= 1 for place in (0, 9, 63))

    assert close(7, 1.0)
    page.fill("#seed", "123456789012")
    assert close(123456789012, 1.0)
    page.fill("#temperature", "0.5")
    assert close(123456789012, 0.5)
    page.close()
    assert errors == []
