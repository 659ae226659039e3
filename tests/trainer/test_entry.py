"""Whatever enters training is looked at first: kinds of files, sizes, and the memory that a model needs."""

from __future__ import annotations

import gzip
import os
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
from PIL import Image

from export.cli import export
from runtime.machine import memory
from tests.fuzzing import contained
from trainer.checkpoint import load_checkpoint
from trainer.cli.train import train
from trainer.data import image_folder
from trainer.data.idx import read_idx
from trainer.data.image_folder import load_folder
from trainer.data.numpy_files import load_arrays
from trainer.errors import CheckpointError, DataError, SettingsError
from trainer.model.size import check_fits, count_weights
from trainer.model.vae import ModelConfig, build_model
from trainer.torch_file import read_plain
from trainer.training.run_folder import Run


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 30 gray images."""
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(30):
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [dangling_link, folder, pipe, endless_device])
def test_what_is_no_file_among_images_is_skipped_and_named(pictures: Path, make: Callable[[Path], None]) -> None:
    make(pictures / "x.png")
    data = load_folder(pictures)
    assert len(data.train_images) + len(data.test_images) == 30
    assert [str(pictures / "x.png") in line for line in data.skipped] == [True]


@pytest.mark.parametrize("make", [dangling_link, folder, pipe, endless_device])
def test_more_than_one_in_twenty_that_are_no_files_are_refused(pictures: Path, make: Callable[[Path], None]) -> None:
    make(pictures / "x.png")
    make(pictures / "y.png")
    with pytest.raises(DataError, match="2 of 32 images cannot be read"):
        load_folder(pictures)


@pytest.mark.parametrize("make", [folder, pipe, endless_device])
@pytest.mark.parametrize("ending", ["npy", "npz", "idx", "idx.gz", "pt"])
def test_a_pipe_or_a_device_in_place_of_a_file_is_refused(
    tmp_path: Path, make: Callable[[Path], None], ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    make(path)
    reader: Callable[[Path], object] = load_arrays if ending.startswith("np") else read_idx
    if ending == "pt":
        with pytest.raises(CheckpointError, match=r"is a folder|is no regular file"):
            load_checkpoint(path)
    else:
        with pytest.raises(DataError, match=r"is a folder|is no regular file"):
            reader(path)


def own_vae() -> torch.nn.Module:
    """Somebody else's model, for `vae-export --module`."""
    module = torch.nn.Linear(2, 16)
    module.decode = lambda z: module(z)  # type: ignore[assignment]
    return module


def endless_text(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("make", [folder, pipe, endless_device, endless_text])
@pytest.mark.parametrize(
    ("command", "name"),
    [
        (train, "--config"),
        (export, "--checkpoint"),
        (export, "--sign"),
        (export, "--weights"),
        (export, "--labels"),
        (train, "--resume"),
    ],
)
def test_whatever_a_command_is_given_to_read_it_does_not_hang(
    tiny_run: Run, tmp_path: Path, make: Callable[[Path], None], command: click.Command, name: str
) -> None:
    if name == "--resume":
        (tmp_path / "a").mkdir()
    make(tmp_path / "a" / "config.toml" if name == "--resume" else tmp_path / "a")
    more = ["--checkpoint", str(tiny_run.best), "--output", str(tmp_path / "b")] if name == "--sign" else []
    if name in ("--weights", "--labels"):
        more = ["--module", f"{__file__}:own_vae", "--latent-shape", "2", "--image-shape", "1,4,4"]
    result = CliRunner().invoke(command, [name, str(tmp_path / "a"), *more])
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)
    assert "please report" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_arrays_larger_than_the_memory_are_refused_by_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((2**20, 4, 4), np.uint8))
    monkeypatch.setattr(memory, "available_bytes", lambda: 30_000_000)
    monkeypatch.setattr(np, "load", lambda *arguments, **options: pytest.fail("loaded"))
    assert (tmp_path / "a.npz").stat().st_size < 10**5
    with pytest.raises(DataError, match=r"its arrays are 16\.8 MB and need about 36\.9 MB of memory, but 30\.0 MB"):
        load_arrays(tmp_path / "a.npz")


def test_a_gzipped_file_is_unpacked_no_further_than_its_header_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte that unpacks to a gigabyte."""
    header = bytes([0, 0, 8, 3]) + np.array([12, 4, 4], ">i4").tobytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(header) + 64 * gzip.compress(bytes(2**24)))
    with contained(), pytest.raises(DataError, match=r"should hold 208 bytes .* but holds 209 or more"):
        read_idx(tmp_path / "a.gz")
    monkeypatch.setattr(memory, "available_bytes", lambda: 10_000_000)
    many = bytes([0, 0, 8, 3]) + np.array([2**20, 4, 4], ">i4").tobytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(many + bytes(2**24)))
    with pytest.raises(DataError, match=r"needs about 36\.9 MB of memory, but 10\.0 MB are available"):
        read_idx(tmp_path / "a.gz")


def test_images_that_would_not_fit_are_refused_before_they_are_decoded(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**9)
    monkeypatch.setattr(image_folder, "load_image", lambda *arguments: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"30 images of 10000×10000×1 need about 6\.6 GB of memory, but 1\.0 GB"):
        load_folder(pictures, image_size=10_000)


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 28, 28)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(DataError, match="its header claims uint8"):
        load_arrays(tmp_path / "a.npy")


@pytest.mark.parametrize("dimensions", [0, 5, 255])
def test_an_idx_file_of_odd_dimensions_is_refused(tmp_path: Path, dimensions: int) -> None:
    (tmp_path / "a-idx").write_bytes(bytes([0, 0, 8, dimensions]) + b"\0\0\0\1" * dimensions + b"\0")
    with pytest.raises(DataError, match=f"has {dimensions} dimensions"):
        read_idx(tmp_path / "a-idx")


@pytest.mark.parametrize("name", ["a-idx", "a-idx.gz"])
def test_an_idx_file_without_images_is_refused_whatever_their_size(tmp_path: Path, name: str) -> None:
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 2**32 - 1, 2**32 - 1)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(DataError, match="is empty"):
        read_idx(tmp_path / name)


def test_a_model_that_cannot_fit_is_refused_with_the_estimate_before_it_is_built(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8))
    options = ["--dataset", str(tmp_path / "a.npy"), "--runs", str(tmp_path / "runs")]
    for hidden, said in (
        ("10000000,10000000", "of memory, but"),
        ("10000000,1000000", "of memory, but"),
        ("9" * 18, "weights"),
    ):
        result = CliRunner().invoke(train, [*options, "--hidden", hidden])
        assert (result.exit_code, said in result.output, "choose" in result.output) == (1, True, True), result.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_weights_are_counted_without_building_the_model(network: str) -> None:
    config = ModelConfig((3, 16, 16), (8, 12), 5, network=network, batch_norm=True)
    assert count_weights(config) == sum(tensor.numel() for tensor in build_model(config, 0).state_dict().values())
    check_fits(config, 20)
    with pytest.raises(SettingsError, match="make more weights than any memory holds"):
        count_weights(ModelConfig((1, 28, 28), (2**62,), 5))


Content = dict[str, Any]


def with_a_list_of_versions(content: Content) -> None:
    content["format_version"] = [1]


def with_a_tensor_for_a_version(content: Content) -> None:
    content["format_version"] = torch.ones(3)


def with_history_as_text(content: Content) -> None:
    content["history"] = "well"


def with_history_of_texts(content: Content) -> None:
    content["history"] = [{**row, "test_loss": "good"} for row in content["history"]]


def with_another_size(content: Content) -> None:
    content["config"]["model"]["hidden"] = [10**9, 10**6]


def with_many_layers(content: Content) -> None:
    content["config"]["model"]["hidden"] = [1] * 10**6


def with_images_that_repeat(content: Content) -> None:
    content["reference_images"] = content["reference_images"][:1].expand(10**8, -1, -1, -1)


def with_weights_that_repeat(content: Content) -> None:
    """A kilobyte of file, and a model of 58 GB that its shapes fit."""
    size = 10**8
    content["config"]["model"]["hidden"] = [size, 16]
    for name, shape in {"encoder.1": (size, 144), "encoder.3": (16, size), "decoder.2": (size, 16)}.items():
        content["model_state_dict"][f"{name}.weight"] = torch.zeros(1).expand(shape)
        content["model_state_dict"][f"{name}.bias"] = torch.zeros(1).expand(shape[:1])
    content["model_state_dict"]["decoder.4.weight"] = torch.zeros(1).expand(144, size)


def with_layers_that_share_memory(content: Content) -> None:
    """A megabyte of file, and a model of 3 GB that its shapes fit."""
    weight, bias, layers = torch.zeros(500, 500), torch.zeros(500), 1500
    content["config"]["model"]["hidden"] = [500] * layers
    state = content["model_state_dict"] = {"encoder.1.weight": torch.zeros(500, 144), "encoder.1.bias": bias}
    for layer in range(1, layers):
        state[f"encoder.{2 * layer + 1}.weight"] = state[f"decoder.{2 * layer}.weight"] = weight
        state[f"encoder.{2 * layer + 1}.bias"] = state[f"decoder.{2 * layer}.bias"] = bias
    for name, shape in {
        "mean": (5, 500),
        "log_var": (5, 500),
        "decoder.0": (500, 5),
        f"decoder.{2 * layers}": (144, 500),
    }.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.zeros(shape), torch.zeros(shape[0])


def with_a_sparse_weight(content: Content) -> None:
    content["model_state_dict"]["mean.weight"] = content["model_state_dict"]["mean.weight"].to_sparse()


def with_text_for_weights(content: Content) -> None:
    content["model_state_dict"] = dict.fromkeys(content["model_state_dict"], "x")


def with_nothing_for_true_or_false(content: Content) -> None:
    content["config"]["model"]["batch_norm"] = None


def with_lists_everywhere(content: Content) -> None:
    content["config"] = [[[]]]


@pytest.mark.parametrize(
    "tamper",
    [
        with_a_list_of_versions,
        with_a_tensor_for_a_version,
        with_history_as_text,
        with_history_of_texts,
        with_another_size,
        with_many_layers,
        with_images_that_repeat,
        with_weights_that_repeat,
        with_layers_that_share_memory,
        with_a_sparse_weight,
        with_text_for_weights,
        with_nothing_for_true_or_false,
        with_lists_everywhere,
    ],
)
def test_a_checkpoint_with_anything_anywhere_is_refused(
    tiny_run: Run, tmp_path: Path, tamper: Callable[[Content], None]
) -> None:
    content = torch.load(tiny_run.best, weights_only=True)
    tamper(content)
    torch.save(content, tmp_path / "a.pt")
    with contained(tmp_path), pytest.raises(CheckpointError, match=r"a\.pt: "):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"s", b"\x87", b"q\0", b"M\0", b"K", b"(lp0\n(lp1\na.", b"Gx"])
def test_a_few_bytes_that_make_the_unpickler_stumble_are_refused(tmp_path: Path, content: bytes) -> None:
    """It takes from an empty stack, or reads past the end."""
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pt: cannot be read as a checkpoint"):
        read_plain(tmp_path / "a.pt")


def test_a_checkpoint_larger_than_the_memory_is_refused_by_its_size(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    monkeypatch.setattr(torch, "load", lambda *arguments, **options: pytest.fail("loaded"))
    with pytest.raises(CheckpointError, match=r"of memory, but 1\.0 kB are available"):
        load_checkpoint(tiny_run.best)


def test_a_checkpoint_that_unpacks_to_more_than_it_holds_is_refused(tiny_run: Run, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tiny_run.best) as archive,
        zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in archive.infolist():
            bomb.writestr(member.filename, archive.read(member) + bytes(10**6))
    with pytest.raises(CheckpointError, match="would unpack from"):
        load_checkpoint(tmp_path / "a.pt")
