"""Checkpoints and data files with anything anywhere: read, or refused by an error of ours."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export.cli import export
from export.errors import ExportError
from export.source.load import read_weights
from runtime.errors import VaeRuntimeError
from tests.fuzzing import EXAMPLES, contained, damaged, fuzz, fuzz_a_little, fuzz_settings, numbers, places, replaced
from trainer.checkpoint import load_checkpoint
from trainer.cli.evaluate import evaluate
from trainer.cli.train import train
from trainer.data.dataset import ImageData
from trainer.data.idx import load_idx_file
from trainer.data.image_folder import load_folder
from trainer.data.numpy_files import load_arrays, save_arrays
from trainer.errors import CheckpointError, DataError
from trainer.evaluation.classifier import Classifier, _load_into
from trainer.training.run_folder import Run

values = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.sampled_from([10**30, float("nan"), float("inf"), "", "x", "\x1b[31m", [], {}, (), [[]], [1] * 100_000]),
    st.sampled_from([(), (0,), (1,), (3,), (2, 3), (1, 12, 12, 1)]).map(torch.zeros),
    st.sampled_from([torch.int64, torch.uint8, torch.bool, torch.float64, torch.complex64]).map(
        lambda kind: torch.ones(4, dtype=kind)
    ),
    st.just(torch.ones(1)).map(lambda one: one.expand(10**9)),
    st.just(torch.ones(1)).map(lambda one: one.expand(2**62, 1)),
    st.sampled_from([torch.eye(3).to_sparse(), torch.ones(3, device="meta"), torch.full((2, 2), torch.nan)]),
)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, which the inputs of a test share."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def assert_loads_or_is_refused(path: Path) -> None:
    """As a model, or by an error that names the file."""
    try:
        with contained(path.parent):
            load_checkpoint(path).build_model()
    except CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017 (it may also succeed)


def with_anything_anywhere(data: st.DataObject, path: Path) -> Any:
    """What a checkpoint holds, up to three of its values replaced."""
    content: Any = torch.load(path, weights_only=True)
    for _ in range(data.draw(st.integers(1, 3))):
        content = replaced(content, data.draw(st.sampled_from(places(content))), data.draw(values))
    return content


@fuzz
@given(data=st.data())
def test_a_checkpoint_with_anything_anywhere_loads_or_is_refused(
    tiny_run: Run, folder: Path, data: st.DataObject
) -> None:
    path = folder / "a.pt"
    torch.save(with_anything_anywhere(data, tiny_run.best), path)
    assert_loads_or_is_refused(path)


def rebuilt(data: st.DataObject, content: bytes) -> bytes:
    """An archive with its members changed, and sums and sizes that are right: what zipfile itself finds no fault in."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(members) - 1))
        name, inside = members[at]
        match data.draw(st.integers(0, 6)):
            case 0:
                members[at] = name, damaged(data, inside)
            case 1 if len(members) > 1:
                del members[at]
            case 2:
                members.append((name + data.draw(st.sampled_from(["", "x", "/", "/../../x", ".npy"])), inside))
            case 3:
                members[at] = data.draw(st.sampled_from([other for other, _ in members])), inside
            case 4:
                members[at] = name, inside[: data.draw(st.integers(0, len(inside)))]
            case 5:
                members[at] = name, inside + bytes(data.draw(st.sampled_from([1, 8, 10**6])))
            case _:
                members.insert(0, members.pop(at))
    buffer = io.BytesIO()
    kind = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, inside in members:
            archive.writestr(zipfile.ZipInfo(name), inside, kind)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("change", [damaged, rebuilt])
@fuzz
@given(data=st.data())
def test_a_damaged_checkpoint_loads_or_is_refused(
    tiny_run: Run, folder: Path, change: Callable[[st.DataObject, bytes], bytes], data: st.DataObject
) -> None:
    path = folder / "a.pt"
    path.write_bytes(change(data, tiny_run.best.read_bytes()))
    assert_loads_or_is_refused(path)


@fuzz_a_little
@given(data=st.data())
def test_a_checkpoint_of_the_old_format_of_torch_loads_or_is_refused(
    tiny_run: Run, folder: Path, data: st.DataObject
) -> None:
    """It is no archive, but pickles in a row and then the numbers."""
    path = folder / "a.pt"
    torch.save(torch.load(tiny_run.best, weights_only=True), path, _use_new_zipfile_serialization=False)
    path.write_bytes(damaged(data, path.read_bytes()))
    assert_loads_or_is_refused(path)


@pytest.fixture(scope="module")
def small_run(blobs: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of `vae-train`, and its data beside it."""
    folder = tmp_path_factory.mktemp("small")
    save_arrays(blobs, folder / "a.npz")
    small = ["--hidden", "4", "--latent-dim", "2", "--epochs", "1", "--prior", "normal", "--name", "r"]
    result = CliRunner().invoke(train, ["--dataset", str(folder / "a.npz"), "--runs", str(folder), *small])
    assert result.exit_code == 0, result.output
    return folder / "r"


@pytest.mark.parametrize("command", ["export", "evaluate", "resume"])
@fuzz_settings(EXAMPLES // 12)
@given(data=st.data())
def test_a_command_given_a_checkpoint_with_anything_anywhere_ends_in_an_answer_or_one_sentence(
    small_run: Path, folder: Path, command: str, data: st.DataObject
) -> None:
    run = folder / "run"
    run.mkdir(exist_ok=True)
    shutil.copy(small_run / "config.toml", run)
    torch.save(with_anything_anywhere(data, small_run / "last.pt"), run / "last.pt")
    arguments: dict[str, tuple[click.Command, list[str]]] = {
        "export": (export, ["--checkpoint", str(run / "last.pt"), "--format", "torchscript", "--force"]),
        "evaluate": (evaluate, ["--checkpoint", str(run / "last.pt"), "--k", "2", "--samples", "100"]),
        "resume": (train, ["--resume", str(run), "--epochs", "2"]),
    }
    program, words = arguments[command]
    with contained(folder):
        result = CliRunner().invoke(program, words)
    assert result.exit_code in (0, 1, 2)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert "please report" not in result.output, result.output
    assert "\x1b" not in result.output


@fuzz
@given(data=st.data())
def test_safetensors_with_any_header_are_weights_or_refused(folder: Path, data: st.DataObject) -> None:
    header: Any = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "I64", "shape": [1], "data_offsets": [24, 32]},
    }
    words: st.SearchStrategy[Any] = st.sampled_from(
        ["F32", "F64", "BF16", "F8_E4M3", "F4", "BOOL", "x", "", [], {}, None, [0, 2**62], [8, 0]]
    )
    for _ in range(data.draw(st.integers(0, 3))):
        header = replaced(header, data.draw(st.sampled_from(places(header))), data.draw(words | numbers))
    text = json.dumps(header).encode()
    length = data.draw(st.sampled_from([len(text), len(text) - 1, len(text) + 8, 0, 2**40, 2**63]))
    path = folder / "a.safetensors"
    path.write_bytes(struct.pack("<Q", length) + text + bytes(data.draw(st.sampled_from([0, 31, 32, 40]))))
    try:
        with contained(folder):
            read_weights(path)
    except (CheckpointError, ExportError) as error:
        assert str(path) in str(error)  # noqa: PT017


@fuzz
@given(data=st.data())
def test_a_cached_classifier_with_anything_anywhere_is_loaded_or_refused(folder: Path, data: st.DataObject) -> None:
    network = Classifier(1, 3)
    content: Any = dict(network.state_dict())
    content = replaced(content, data.draw(st.sampled_from(places(content))), data.draw(values))
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path = folder / "classifier.pt"
    path.write_bytes(buffer.getvalue() if data.draw(st.booleans()) else damaged(data, buffer.getvalue()))
    try:
        with contained(folder):
            _load_into(network, path)
    except DataError as error:
        assert "delete it" in str(error)  # noqa: PT017


def files() -> dict[str, bytes]:
    """One of each kind of data file, of 12 images."""
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4), np.uint8)
    made = {}
    writers: dict[str, Callable[[io.BytesIO], None]] = {
        "a.npy": lambda file: np.save(file, images),
        "a.npz": lambda file: np.savez(file, images=images, labels=np.arange(12)),
        "b.npz": lambda file: np.savez_compressed(file, train_images=images, test_images=images),
    }
    for name, write in writers.items():
        buffer = io.BytesIO()
        write(buffer)
        made[name] = buffer.getvalue()
    made["a-idx3-ubyte"] = bytes([0, 0, 8, 3]) + np.array([12, 4, 4], ">i4").tobytes() + images.tobytes()
    made["a-idx3-ubyte.gz"] = gzip.compress(made["a-idx3-ubyte"])
    return made


@pytest.mark.parametrize("name", files())
@fuzz
@given(data=st.data())
def test_a_damaged_data_file_is_read_or_refused(folder: Path, name: str, data: st.DataObject) -> None:
    path = folder / name
    path.write_bytes(damaged(data, files()[name]))
    try:
        with contained(folder):
            load_idx_file(path) if "idx" in name else load_arrays(path)
    except (DataError, VaeRuntimeError) as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize("zipped", [False, True])
@fuzz
@given(data=st.data())
def test_an_idx_file_of_any_shape_is_read_or_refused(folder: Path, zipped: bool, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.sampled_from([0, 1, 4, 12, 255, 2**16, 2**31, 2**32 - 1]), max_size=5))
    header = bytes([0, 0, data.draw(st.sampled_from([8, 8, 8, 9, 13, 0])), len(shape)])
    header += struct.pack(f">{len(shape)}I", *shape)
    content = header + bytes(range(192)) * data.draw(st.sampled_from([0, 1, 1000]))
    path = folder / ("a-idx3-ubyte.gz" if zipped else "a-idx3-ubyte")
    path.write_bytes(gzip.compress(content) if zipped else content)
    try:
        with contained(folder):
            load_idx_file(path)
    except DataError as error:
        assert "a-idx3" in str(error)  # noqa: PT017


dtypes = st.sampled_from(["|u1", "<u2", "<i8", "<f2", "<f4", ">f8", "<c8", "|b1", "<U3", "|S4", "|O", "|V3", "<M8[s]"])
shapes = st.lists(st.sampled_from([0, 1, 3, 4, 12, 1000, 2**31, 2**62, -1]), max_size=6).map(tuple)


def array_file(data: st.DataObject) -> bytes:
    """A `.npy` whose header says anything."""
    buffer = io.BytesIO()
    header = {"descr": data.draw(dtypes), "fortran_order": data.draw(st.booleans()), "shape": data.draw(shapes)}
    write = data.draw(st.sampled_from([np.lib.format.write_array_header_1_0, np.lib.format.write_array_header_2_0]))
    write(buffer, header)
    inside = data.draw(st.sampled_from([bytes(192), np.linspace(0, 1, 192, dtype=np.float32).tobytes()]))
    return buffer.getvalue() + inside * data.draw(st.sampled_from([0, 1, 12]))


@fuzz
@given(data=st.data())
def test_arrays_of_any_type_and_shape_are_a_data_set_or_refused(folder: Path, data: st.DataObject) -> None:
    path = folder / data.draw(st.sampled_from(["a.npy", "a.npz"]))
    if path.suffix == ".npy":
        path.write_bytes(array_file(data))
    else:
        names = st.sampled_from(["images", "labels", "train_images", "test_images", "train_labels", "class_names", "x"])
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in data.draw(st.lists(names, max_size=4, unique=True)):
                archive.writestr(f"{name}.npy", array_file(data))
    try:
        with contained(folder), np.errstate(all="ignore"):
            load_arrays(path)
    except DataError as error:
        assert str(error).isprintable()  # noqa: PT017


def test_what_only_code_could_read_is_never_unpickled(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(pickle.dumps(np.zeros(3)))
    np.savez(tmp_path / "a.npz", images=np.array([{}], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match=name):
            load_arrays(tmp_path / name)


@fuzz_a_little
@given(data=st.data())
def test_a_folder_with_any_files_is_a_data_set_or_refused(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("folder")
    for i in range(data.draw(st.sampled_from([0, 1, 12, 24]))):
        mode = data.draw(st.sampled_from(["L", "L", "L", "RGB", "RGBA", "I;16", "1", "P", "CMYK"]))
        side = data.draw(st.sampled_from([8, 8, 8, 9, 1]))
        image = Image.frombytes(mode, (side, side), bytes(range(256)) * 8) if mode != "P" else Image.new("P", (8, 8), i)
        suffix = data.draw(st.sampled_from([".tif", ".tif", ".png"])) if mode != "CMYK" else ".tif"
        image.save(folder / f"{i}{suffix}")
        if data.draw(st.integers(0, 11)) == 0:
            (folder / f"{i}{suffix}").write_bytes(damaged(data, (folder / f"{i}{suffix}").read_bytes()))
    for name in data.draw(st.lists(st.sampled_from(["x.png", "a/y.png", "train/z.png", "n.txt", "\udcff.png"]))):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    try:
        with contained(folder):
            size = data.draw(st.sampled_from([None, 1, 8, 10**5]))
            load_folder(folder, image_size=size, channels=data.draw(st.sampled_from([None, 1, 3])))
    except DataError as error:
        assert str(error)  # noqa: PT017


@pytest.mark.filterwarnings("ignore:Duplicate name")
@fuzz_a_little
@given(data=st.data())
def test_a_damaged_cache_of_decoded_images_is_made_again(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("folder")
    for i in range(12):
        Image.fromarray(np.full((6, 6), 20 * i, np.uint8)).save(folder / f"{i:02}.png")
    first = load_folder(folder)
    assert first.cache is not None
    content = first.cache.read_bytes()
    first.cache.write_bytes(data.draw(st.sampled_from([damaged, rebuilt]))(data, content))
    with contained(folder, first.cache.parent), contextlib.suppress(DataError):  # of changed notes on unreadable files
        assert load_folder(folder).image_shape == first.image_shape
    first.cache.unlink()
