"""Images: reading, conversion, writing, and errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from runtime.errors import InputError, OutputError
from runtime.images.decode import load_image
from runtime.images.image_inputs import load_images
from runtime.images.pixels import to_float, to_uint8
from runtime.images.png import save_png
from runtime.images.sheet import columns_for, grid
from trainer.data.pixels import to_float as trainer_to_float

ALL_PIXELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


def test_trainer_and_runtime_see_the_same_float_for_each_of_the_256_pixel_values() -> None:
    ours = to_float(ALL_PIXELS)
    theirs = trainer_to_float(torch.from_numpy(ALL_PIXELS)).numpy()
    assert ours.tobytes() == theirs.tobytes()
    assert ours.ravel().tolist() == [np.float32(value / 255) for value in range(256)]  # float64 division, rounded once


def test_pixels_converted_to_float_and_back_are_unchanged() -> None:
    assert (to_uint8(to_float(ALL_PIXELS)) == ALL_PIXELS).all()


def test_rounding_is_half_to_even_and_clipped() -> None:
    halves = np.array([0.5, 1.5, 2.5, 254.5, -3, 300], np.float32).reshape(1, 1, 1, 6) / np.float32(255)
    assert to_uint8(halves).ravel().tolist() == [0, 2, 2, 254, 0, 255]


def test_channels_move_between_the_two_layouts() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    floats = to_float(pixels)
    assert floats.shape == (2, 3, 4, 5)
    assert floats[1, 2, 3, 4] == np.float32(pixels[1, 3, 4, 2]) / np.float32(255)


def test_a_png_of_the_models_shape_is_read_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 1), np.uint8)
    save_png(tmp_path / "a.png", pixels)
    loaded, changes = load_image(tmp_path / "a.png", (1, 6, 7))
    assert (loaded == pixels).all()
    assert changes == ""


def test_other_modes_and_sizes_are_converted_and_reported(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (255, 255, 255)).save(tmp_path / "a.png")
    loaded, changes = load_image(tmp_path / "a.png", (1, 6, 7))
    assert loaded.shape == (6, 7, 1)
    assert loaded.min() == 255
    assert changes == "RGB to L, 20×10 to 7×6"


def test_transparency_is_laid_on_black(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 255, 255, 0)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", (3, 4, 4))[0].max() == 0


def test_sixteen_bit_gray_keeps_its_brightness(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 32_768, np.uint16)).save(tmp_path / "a.png")
    loaded, changes = load_image(tmp_path / "a.png", (1, 4, 4))
    assert set(loaded.ravel().tolist()) == {128}
    assert "16" in changes


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "cannot be read as an image"), (b"\x89PNG\r\n\x1a\n\0\0", "cannot be read as an image")],
)
def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        load_image(path, (1, 4, 4))


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as an image"):
        load_image(tmp_path / "a.png", (1, 64, 64))


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.png: no such file"):
        load_image(tmp_path / "nowhere.png", (1, 4, 4))


@pytest.mark.parametrize(
    ("num", "columns"), [(1, 1), (7, 7), (8, 8), (9, 3), (20, 5), (60, 10), (64, 8), (100, 10), (13, 7)]
)
def test_a_grid_is_nearly_square_with_few_empty_places(num: int, columns: int) -> None:
    assert columns_for(num) == columns


def test_a_damaged_file_of_a_folder_is_left_out_and_named(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        Image.new("L", (6, 8), 100).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    loaded = load_images([tmp_path], (1, 8, 6))
    assert [Path(name).name for name in loaded.names] == ["a.png", "c.png"]
    assert [line.split(":")[0] for line in loaded.skipped] == [str(tmp_path / "b.png")]
    for paths, strict in (([tmp_path], True), ([tmp_path / "b.png"], False)):
        with pytest.raises(InputError, match=r"b\.png"):
            load_images(paths, (1, 8, 6), strict=strict)
    for name in ("a.png", "c.png"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(InputError, match="none of its 3 images can be read"):
        load_images([tmp_path], (1, 8, 6))


def test_grid_places_images_row_by_row() -> None:
    images = np.arange(1, 6, dtype=np.uint8).reshape(5, 1, 1, 1).repeat(2, 1).repeat(2, 2)
    canvas = grid(images, 3, gap=1)[:, :, 0]
    assert canvas.shape == (7, 10)
    assert canvas[1, [1, 4, 7]].tolist() == [1, 2, 3]
    assert canvas[4, [1, 4, 7]].tolist() == [4, 5, 0]
    assert (grid(images, 3, gap=1, scale=2)[::2, ::2, 0] == canvas).all()


def test_a_picture_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        save_png(tmp_path / "file" / "a.png", np.zeros((2, 2, 1), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
