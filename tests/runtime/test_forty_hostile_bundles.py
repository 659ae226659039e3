"""Forty bundles by somebody who means harm, all hashes right: no command takes much memory or time over any of them."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from runtime.golden import ENCODER_ARRAYS, SAMPLE_ARRAYS
from tests.fuzzing import replaced
from tests.runtime import test_hostile_golden as golden
from tests.runtime.forked_commands import Commands
from tests.runtime.test_hostile import relist
from tests.runtime.test_hostile_graphs import ATTACKS, Body, attack

MOST_MB, MOST_SECONDS = 500, 5
Harm = Callable[[Path], None]


def in_manifest(place: tuple[object, ...], value: object) -> Harm:
    def harm(bundle: Path) -> None:
        root = json.loads((bundle / "manifest.json").read_text())
        (bundle / "manifest.json").write_text(json.dumps(replaced(root, place, value)))

    return harm


def in_every_graph(change: Callable[[onnx.ModelProto], None]) -> Harm:
    def harm(bundle: Path) -> None:
        for path in bundle.glob("*.onnx"):
            model = onnx.load_from_string(path.read_bytes())
            change(model)
            relist(bundle, path.name, model.SerializeToString())

    return harm


def operators_of_the_terminal(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "\x1b]0;owned\x07\x1b[2J"


def metadata_of_the_terminal(model: onnx.ModelProto) -> None:
    model.metadata_props[0].value = '{"pair_id": "\x1b[31mred"}'


def names_of_the_terminal(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "\x1b[31mred\nok       all is well"


def deep(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("[" * 500_000)


def large_manifest(bundle: Path) -> None:
    with (bundle / "manifest.json").open("ab") as file:
        file.truncate(2**33)


def pipe(bundle: Path) -> None:
    (bundle / "decoder.onnx").unlink()
    os.mkfifo(bundle / "decoder.onnx")


def endless(bundle: Path) -> None:
    (bundle / "decoder.onnx").unlink()
    (bundle / "decoder.onnx").symlink_to("/dev/zero")


def sparse_file(bundle: Path) -> None:
    with (bundle / "decoder.onnx").open("ab") as file:
        file.truncate(2**31 - 1)


def bomb(bundle: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (*SAMPLE_ARRAYS, *ENCODER_ARRAYS):
            archive.writestr(f"{name}.npy", bytes(2**27))
    relist(bundle, "golden.npz", buffer.getvalue())


def golden_with(change: Callable[[golden.Arrays], None]) -> Harm:
    def harm(bundle: Path) -> None:
        with np.load(bundle / "golden.npz") as loaded:
            arrays = dict(loaded)
        change(arrays)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        relist(bundle, "golden.npz", buffer.getvalue())

    return harm


def limits_without_end(bundle: Path) -> None:
    relist(bundle, "parity.json", b'{"measurements": ' + b"[" * 500_000)


def in_decoder(body: Body) -> Harm:
    return lambda bundle: relist(bundle, "decoder.onnx", attack(body, bundle))


HARMS: dict[str, Harm] = {
    **{f"graph {number}": in_decoder(body) for number, (body, _) in enumerate(ATTACKS)},
    "operators": in_every_graph(operators_of_the_terminal),
    "metadata": in_every_graph(metadata_of_the_terminal),
    "names": in_every_graph(names_of_the_terminal),
    "emptied": golden_with(golden.emptied),
    "lengthened": golden_with(golden.lengthened),
    "objects": golden_with(golden.with_objects),
    "odd seed": golden_with(golden.with_an_odd_seed),
    "bomb": bomb,
    "limits": limits_without_end,
    "deep": deep,
    "large manifest": large_manifest,
    "pipe": pipe,
    "endless": endless,
    "sparse": sparse_file,
    "huge image": in_manifest(("metadata", "image_shape"), [3, 65_536, 65_536]),
    "huge latent": in_manifest(("metadata", "latent_dim"), 2**20),
    "provenance": in_manifest(("metadata", "provenance"), {"\x1b[31m": ["\x1b[2J"] * 1000}),
    "file name": in_manifest(("files",), {"\x1b[31m.txt": {"bytes": 1, "sha256": "0" * 64}}),
    "claimed size": in_manifest(("files", "decoder.onnx", "bytes"), 2**31 - 1),
    "format": in_manifest(("format_version",), ["\x1b[31m"]),
    "ports": in_manifest(("graphs", "decoder", "inputs", 0, "shape"), ["N", 2**31]),
    "range": in_manifest(("graphs", "decoder", "outputs", 0, "range"), ["\x1b[31m", {}]),
}


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with Commands.started() as started:
        yield started


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!doctype html>")
    return folder


@pytest.mark.parametrize("name", HARMS)
def test_no_command_takes_much_over_a_hostile_bundle(
    commands: Commands, bundle: Path, site: Path, tmp_path: Path, name: str
) -> None:
    HARMS[name](bundle)
    for command, *options in (
        ("verify", "--verbose"),
        ("sample", "--force", "--output", tmp_path / "x.png"),
        ("web", "--site", site, "--port", 0, "--no-open"),
    ):
        outcome = commands.run(command, bundle, *options)
        assert (outcome.peak_mb < MOST_MB, outcome.seconds < MOST_SECONDS) == (True, True), (command, outcome)
        assert outcome.code == 1 or command != "verify", outcome
        assert "Traceback" not in outcome.said
        assert "please report" not in outcome.said
        assert outcome.said.replace("\n", "").isprintable(), (command, outcome.said)
        if command == "web":
            assert outcome.code == (0 if outcome.statuses else 1), outcome
            assert outcome.stop_seconds is None or outcome.stop_seconds < MOST_SECONDS
        else:
            stopped = commands.run(command, bundle, *options, terminate_s=0.01)
            assert stopped.stop_seconds is None or stopped.stop_seconds < MOST_SECONDS, (command, stopped)


def test_there_are_forty() -> None:
    assert len(HARMS) >= 40


def test_what_measures_would_notice(commands: Commands, bundle: Path, site: Path, tmp_path: Path) -> None:
    """A sound bundle draws, takes memory, and is served; a long command is stopped by the signal."""
    drawn = commands.run("sample", bundle, "--output", tmp_path / "x.png")
    assert (drawn.code, drawn.peak_mb > 30, "64 images" in drawn.said) == (0, True, True), drawn
    served = commands.run("web", bundle, "--site", site, "--port", 0, "--no-open")
    assert (served.code, set(served.statuses.values())) == (0, {200}), served
    stopped = commands.run("sample", bundle, "--num", 10_000_000, "--output", tmp_path / "x.npy", terminate_s=0.3)
    assert (stopped.code, "stopped at" in stopped.said) == (1, True), stopped


@pytest.mark.parametrize("name", ["graph 0", "operators", "pipe", "sparse"])
def test_a_graph_that_the_runtime_refuses_is_not_served_either(
    commands: Commands, bundle: Path, site: Path, name: str
) -> None:
    HARMS[name](bundle)
    served = commands.run("web", bundle, "--site", site, "--port", 0, "--no-open")
    assert (served.statuses["decoder.onnx"], served.statuses["golden.json"]) == (500, 200)
