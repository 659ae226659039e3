"""Folders of image files as data sets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from runtime.images.decode import load_image
from trainer.data import image_folder as images
from trainer.data.dataset import ImageData
from trainer.data.image_folder import load_folder
from trainer.data.load import load
from trainer.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """24 PNG files of 9×9 in the folders blue and red, a little noise in each."""
    random = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (tmp_path / "colours" / name).mkdir(parents=True)
        for i in range(12):
            pixels = random.integers(0, 30, (9, 9, 3), np.uint8)
            pixels[..., channel] += 200
            Image.fromarray(pixels).save(tmp_path / "colours" / name / f"{i:02}.png")
    return tmp_path / "colours"


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def _all(data: ImageData) -> np.ndarray:
    return np.concatenate([data.train_images, data.test_images])


def test_folders_become_classes_and_pixels_stay_as_they_are(colours: Path) -> None:
    data = load_folder(colours)
    assert data.class_names == ("blue", "red")
    assert data.train_images.shape == (20, 9, 9, 3)
    assert data.test_images.shape == (4, 9, 9, 3)
    assert data.train_labels is not None
    for image, label in zip(data.train_images, data.train_labels, strict=True):
        assert image[..., 2 if label == 0 else 0].min() >= 200
    expected = {_read(path).tobytes() for path in colours.rglob("*.png")}
    assert {image.tobytes() for image in _all(data)} == expected


def test_flat_folder_has_no_labels_and_gray_files_make_one_channel(tmp_path: Path) -> None:
    for i in range(12):
        Image.fromarray(np.full((6, 5), 20 * i, np.uint8)).save(tmp_path / f"{i:02}.png")
    data = load_folder(tmp_path)
    assert data.train_labels is None
    assert data.class_names is None
    assert sorted(_all(data)[:, 0, 0, 0]) == [20 * i for i in range(12)]
    assert data.image_shape == (1, 6, 5)
    assert load(str(tmp_path), tmp_path, channels=3).image_shape == (3, 6, 5)


def test_train_and_test_folders_are_the_splits(colours: Path, tmp_path: Path) -> None:
    for path in sorted(colours.rglob("*.png")):
        target = tmp_path / "split" / ("train" if int(path.stem) < 9 else "test") / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    data = load_folder(tmp_path / "split")
    assert (len(data.train_images), len(data.test_images)) == (18, 6)
    assert data.test_labels is not None
    assert data.test_labels.tolist() == [0, 0, 0, 1, 1, 1]
    (tmp_path / "split" / "test" / "red").rename(tmp_path / "split" / "test" / "green")
    with pytest.raises(DataError, match="should have the classes blue, red but has blue, green"):
        load_folder(tmp_path / "split")


def test_sizes_that_differ_ask_for_image_size_and_get_the_middle_square(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:15], wide[:, 15:20] = 100, 250  # the middle square
    for i in range(11):
        Image.fromarray(wide).save(tmp_path / f"{i:02}.png")
    Image.fromarray(wide[:8]).save(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"30×8 to 30×10 pixels; .*--image-size"):
        load_folder(tmp_path)
    Image.fromarray(wide).save(tmp_path / "x.png")
    found = _all(load_folder(tmp_path, image_size=2))
    assert np.abs(found[:, 0, :, 0].astype(int) - [100, 250]).max() < 60  # 25 where the black sides were squeezed in


@pytest.mark.parametrize(
    "mode", ["16-bit gray", "palette with transparency", "gray with alpha", "turned by EXIF", "1-bit"]
)
def test_unusual_files_look_as_a_viewer_shows_them(tmp_path: Path, mode: str) -> None:
    left = np.zeros((8, 8), np.uint8)
    left[:, :4] = 200
    options: dict[str, Any] = {}
    if mode == "16-bit gray":
        image = Image.fromarray(left.astype(np.uint16) << 8)
    elif mode == "palette with transparency":
        image = Image.fromarray((left == 0).astype(np.uint8), "P")
        image.putpalette([200, 200, 200, 9, 9, 9])
        options["transparency"] = 1
    elif mode == "gray with alpha":
        image = Image.merge("LA", (Image.new("L", (8, 8), 200), Image.fromarray((left > 0).astype(np.uint8) * 255)))
    elif mode == "1-bit":
        image = Image.fromarray(left > 0)
    else:
        image = Image.fromarray(np.rot90(left).copy())
        exif = Image.Exif()
        exif[0x0112] = 6  # a viewer turns it clockwise
        options["exif"] = exif
    for i in range(12):
        image.save(tmp_path / f"{i:02}.png", **options)
    found = _all(load_folder(tmp_path, channels=1))[0, ..., 0]
    assert np.abs(found.astype(int) - (left > 0) * (255 if mode == "1-bit" else 200)).max() <= 1


def test_few_unreadable_files_are_named_and_many_are_an_error(colours: Path) -> None:
    good = io.BytesIO()
    Image.new("RGB", (9, 9)).save(good, format="PNG")
    (colours / "red" / "broken.png").write_bytes(good.getvalue()[:-30])
    for _ in range(2):  # decoded, then from the cache
        data = load_folder(colours)
        assert len(_all(data)) == 24
        assert [line.split(" (")[0] for line in data.skipped] == [str(colours / "red" / "broken.png")]
    (colours / "red" / "no image.jpg").write_text("hello")
    with pytest.raises(DataError, match=r"2 of 26 images cannot be read, more than 5%: .*broken.png.*no image.jpg"):
        load_folder(colours)


def test_second_load_decodes_nothing_and_a_changed_file_is_noticed(
    colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_folder(colours)
    monkeypatch.setattr(images, "load_image", lambda *_: pytest.fail("decoded again"))
    assert load_folder(colours).sha256 == first.sha256
    monkeypatch.setattr(images, "load_image", load_image)
    Image.new("RGB", (9, 9)).save(colours / "red" / "00.png")
    assert load_folder(colours).sha256 != first.sha256


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["readme.txt"], "contains no images"),
        (["a.png", "cats/b.png"], "contains images directly and also in cats"),
        (["fake.png"], "none of its 1 image files can be read"),
    ],
)
def test_a_folder_that_is_not_a_data_set_is_refused_with_the_reason(
    tmp_path: Path, files: list[str], message: str
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("no image")
    with pytest.raises(DataError, match=message):
        load_folder(tmp_path)


def test_folder_of_colour_jpegs_goes_from_training_to_bundle_to_samples(tmp_path: Path) -> None:
    from export.cli import export
    from runtime.cli import sample
    from trainer.cli.train import train

    random = np.random.default_rng(0)
    for i in range(60):
        folder = tmp_path / "photos" / f"class {i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        corner = random.integers(0, 256, (2, 2, 3), np.uint8)
        Image.fromarray(corner).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg")
    for command, arguments in (
        (train, ["--dataset", str(tmp_path / "photos"), "--epochs", "1", "--hidden", "16", "--latent-dim", "3",
                 "--runs", str(tmp_path / "runs"), "--device", "cpu"]),
        (export, ["--checkpoint", str(tmp_path / "runs/latest/best.pt"), "--format", "onnx"]),
        (sample, [str(tmp_path / "runs/latest/bundle"), "--num", "4", "--output", str(tmp_path / "samples.png")]),
    ):  # fmt: skip
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 0, result.output
    height, width, channels = _read(tmp_path / "samples.png").shape
    assert min(height, width) > 2 * 32
    assert channels == 3
