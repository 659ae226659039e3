"""Loading data sets: accepted and rejected inputs, and the default data set."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data.dataset import ImageData
from trainer.data.idx import read_idx
from trainer.data.load import load, load_default
from trainer.data.numpy_files import load_arrays
from trainer.errors import DataError, DownloadError


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def fake_mnist(tmp_path: Path) -> Path:
    """A folder laid out as torchvision's, with 12 + 6 images of noise."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for prefix, count in (("train", 12), ("t10k", 6)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8)))
    return tmp_path / "data"


def test_idx_is_read_plain_and_gzipped(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)
    (tmp_path / "a").write_bytes(idx(array))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(array)))
    assert (read_idx(tmp_path / "a") == array).all()
    assert (read_idx(tmp_path / "a.gz") == array).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "should hold 76 bytes .* but holds 75"),
        (lambda content: content + b"\0", "should hold 76 bytes .* but holds 77"),
        (lambda content: content[:10], "truncated within its header"),
        (lambda content: b"", "not an IDX file"),
        (lambda content: b"\0\0\x0d" + content[3:], "not an IDX file of unsigned bytes"),
        (lambda content: content[:4] + b"\xff" * 12 + content[16:], "should hold"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    (tmp_path / "a").write_bytes(change(idx(np.zeros((3, 4, 5), np.uint8))))
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "a")


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(np.zeros((3, 4, 5), np.uint8)))[:-10])
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "a.gz")


def test_mnist_is_read_from_where_torchvision_leaves_it(fake_mnist: Path) -> None:
    data, reason = load_default(fake_mnist)
    assert reason == ""
    assert (data.name, data.image_shape) == ("mnist", (1, 28, 28))
    assert data.train_images.shape == (12, 28, 28, 1)
    assert data.test_labels is not None
    assert data.test_labels.tolist() == list(range(6))


def test_damaged_mnist_is_an_error_and_not_a_reason_for_glyphs(fake_mnist: Path) -> None:
    path = fake_mnist / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: should hold"):
        load_default(fake_mnist)


def test_without_mnist_glyphs_are_taken_and_the_reason_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blobs: ImageData
) -> None:
    def no_network(dataset: Any, root: Path) -> None:
        raise DownloadError("no mirror answers")

    monkeypatch.setattr("trainer.data.download.download", no_network)
    monkeypatch.setattr("trainer.data.glyphs.draw_glyphs", lambda: 2 * ((blobs.test_images, blobs.test_labels),))
    data, reason = load_default(tmp_path)
    assert data.name == "glyphs"
    assert reason == "no mirror answers"
    with pytest.raises(DataError, match="no mirror answers"):
        load("mnist", tmp_path)  # named explicitly, it is never replaced


def test_no_network_is_noticed_without_waiting_for_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    from trainer.data.download import download

    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/", "http://[::1]:9/"])
    with pytest.raises(DownloadError, match="no mirror answers"):
        download(datasets.MNIST, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_glyphs_are_the_same_on_every_call_and_leave_the_global_random_state_alone() -> None:
    import torch

    from trainer.data.glyphs import draw_glyphs

    state = torch.get_rng_state()
    (train_images, train_labels), (test_images, test_labels) = draw_glyphs()
    data = ImageData("glyphs", train_images, test_images, train_labels, test_labels)
    assert (torch.get_rng_state() == state).all()
    assert data.train_images.shape == (20_000, 28, 28, 1)
    assert data.train_labels is not None
    assert np.bincount(data.train_labels).tolist() == [2000] * 10
    # Every picture contains a digit, and the same digit in two fonts is more similar than two different digits.
    assert data.train_images.max((1, 2, 3)).min() > 128
    torch.manual_seed(5)
    again = draw_glyphs()[1][0]
    assert (again == data.test_images).all()


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown data set 'minst'; expected mnist, fashion-mnist, kmnist"):
        load("minst", tmp_path)


def test_the_hash_depends_on_every_pixel_and_on_the_shape(blobs: ImageData) -> None:
    changed = blobs.test_images.copy()
    changed[-1, -1, -1, 0] ^= 1
    other = ImageData("blobs", blobs.train_images, changed, None, None)
    assert other.sha256 != blobs.sha256
    same = ImageData("another name", blobs.train_images.copy(), blobs.test_images, None, None)
    assert same.sha256 == blobs.sha256


def test_npy_images_are_split_and_scaled(tmp_path: Path, blobs: ImageData) -> None:
    np.save(tmp_path / "a.npy", blobs.train_images)
    np.save(tmp_path / "b.npy", blobs.train_images[..., 0] / 255)
    a, b = load_arrays(tmp_path / "a.npy"), load(str(tmp_path / "b.npy"), tmp_path)
    assert (len(a.train_images), len(a.test_images)) == (334, 66)
    assert a.sha256 == b.sha256
    together = np.concatenate([a.train_images, a.test_images])
    assert sorted(map(bytes, together)) == sorted(map(bytes, blobs.train_images))


def test_npz_keeps_its_labels_and_its_own_split(tmp_path: Path, blobs: ImageData) -> None:
    np.savez(tmp_path / "a.npz", images=blobs.train_images, labels=np.asarray(blobs.train_labels))
    data = load_arrays(tmp_path / "a.npz")
    by_pixels = {bytes(image): label for image, label in zip(blobs.train_images, blobs.train_labels, strict=True)}  # type: ignore[arg-type]
    assert data.test_labels is not None
    for image, label in zip(data.test_images, data.test_labels, strict=True):
        assert by_pixels[bytes(image)] == label
    np.savez(tmp_path / "b.npz", train_images=blobs.train_images, test_images=blobs.test_images)
    assert load_arrays(tmp_path / "b.npz").sha256 == blobs.sha256


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_name_is_refused(tmp_path: Path, label: int) -> None:
    images, labels = np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4), np.resize([0, 1, label], 12)
    np.savez(tmp_path / "a.npz", images=images, labels=labels, class_names=np.array(["cat", "dog"]))
    with pytest.raises(DataError, match="class_names has a name for 0 to 1"):
        load_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((9, 4, 4), 2.0), r"floats should be in \[0, 1\] without NaN but range from 2 to 2"),
        (np.full((9, 4, 4), -0.5), r"floats should be in \[0, 1\]"),
        (np.full((9, 4, 4), np.nan), r"floats should be in \[0, 1\] without NaN"),
        (np.zeros((9, 4, 4), np.int64), "should be uint8, or floats"),
        (np.zeros((9, 16)), "should have the shape"),
        (np.zeros((9, 4, 4, 2), np.uint8), "should have the shape"),
        (np.zeros((0, 4, 4), np.uint8), "should have the shape"),
        (np.zeros((12, 4, 4), np.uint8), "every pixel of every training image is 0"),
        (np.eye(4, dtype=np.uint8)[None], "needs at least 2"),
    ],
)
def test_arrays_that_no_model_can_learn_from_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        load_arrays(tmp_path / "a.npy")


def test_a_file_that_is_not_numpys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DataError, match="cannot be read as a NumPy file"):
        load_arrays(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read as a NumPy file"):
        load_arrays(tmp_path / "b.npy")


def test_mnist_itself_has_the_known_floor_and_size(mnist_dir: Path) -> None:
    from trainer.objective.likelihood import bernoulli_entropy_floor

    data = load("mnist", mnist_dir)
    assert (len(data.train_images), len(data.test_images)) == (60_000, 10_000)
    assert bernoulli_entropy_floor(data.test_images) == pytest.approx(45.53, abs=0.005)
