"""Pixels, version 1: training and inference read the same pixels from image files, and they are correct."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from runtime import Bundle
from runtime.errors import BundleError, InputError
from runtime.images.decode import fit_image, fit_pixels, load_image, read_header
from runtime.images.image_inputs import load_images
from trainer.data.image_folder import load_folder

KINDS = ("gray", "RGB", "RGB JPEG", "RGBA", "palette", "LA", "16-bit", "CMYK JPEG", "gray TIFF")
ORIENTATIONS = range(1, 9)
SIZES = ((8, 8), (8, 24), (24, 8), (31, 47), (100, 100), (300, 100), (100, 300), (300, 200))  # 1:3 to 3:1, 8 to 300
_EXIF_ORIENTATION = 0x0112


def stored(upright: npt.NDArray[np.generic], orientation: int) -> npt.NDArray[np.generic]:
    """The array to store in a file with this EXIF orientation, so that it is shown as `upright`, (H, W, …).

    From the standard's table (EXIF 2.3, 4.6.4), which gives the position of stored row 0 and column 0 when shown.
    """
    row, column = {
        1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
        5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
    }[orientation]  # fmt: skip
    view = upright if row in ("top", "bottom") else upright.swapaxes(0, 1)
    view = view[::-1] if row in ("bottom", "right") else view
    return np.ascontiguousarray(view[:, ::-1] if column in ("right", "bottom") else view)


def save(folder: Path, name: str, kind: str, pixels: npt.NDArray[np.uint8], orientation: int) -> Path:
    """Write upright pixels, uint8 (H, W, 3), as a file of `kind`; gray kinds use the first channel."""
    pixels = stored(pixels, orientation)  # type: ignore[assignment]
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = orientation
    gray, alpha = Image.fromarray(pixels[..., 0]), Image.fromarray(pixels[..., 1])
    image = {
        "gray": lambda: gray,
        "gray TIFF": lambda: gray,
        "RGB": lambda: Image.fromarray(pixels),
        "RGB JPEG": lambda: Image.fromarray(pixels),
        "RGBA": lambda: Image.merge("RGBA", (*Image.fromarray(pixels).split(), alpha)),
        "palette": lambda: Image.fromarray(pixels).quantize(32),
        "LA": lambda: Image.merge("LA", (gray, alpha)),
        "16-bit": lambda: Image.fromarray(pixels[..., 0].astype(np.uint16) * 256 + pixels[..., 1]),
        "CMYK JPEG": lambda: Image.fromarray(pixels).convert("CMYK"),
    }[kind]()
    suffix = {"RGB JPEG": ".jpg", "CMYK JPEG": ".jpg", "gray TIFF": ".tif"}.get(kind, ".png")
    path = folder / f"{name}{suffix}"
    options: dict[str, Any] = {"transparency": 3} if kind == "palette" else {}
    image.save(path, exif=exif, **options)
    return path


def scene(width: int, height: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A smooth random picture, uint8 (H, W, 3)."""
    corners = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 16, 16)])
def test_training_and_inference_read_every_kind_of_file_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_shape: tuple[int, int, int]
) -> None:
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    for split in ("train", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
    for kind in KINDS:
        for orientation in ORIENTATIONS:
            for width, height in SIZES:
                save(
                    tmp_path / "data" / "train",
                    f"{kind}-{orientation}-{width}x{height}",
                    kind,
                    scene(width, height),
                    orientation,
                )
    for i in range(2):
        save(tmp_path / "data" / "test", str(i), "gray", scene(8, 8, i), 1)
    channels, side, _ = image_shape
    trained = load_folder(tmp_path / "data", image_size=side, channels=channels)
    assert trained.skipped == ()
    inferred = load_images([tmp_path / "data" / "train"], image_shape)
    assert len(inferred.pixels) == len(KINDS) * len(ORIENTATIONS) * len(SIZES)
    differing = [
        name for name, a, b in zip(inferred.names, trained.train_images, inferred.pixels, strict=True) if (a != b).any()
    ]
    assert differing == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_orientation_is_turned_to_the_same_picture(tmp_path: Path, kind: str) -> None:
    """A mark at the top, left of the centre, appears there in every file, and both sides are cropped equally."""
    drawn = np.zeros((60, 100, 3), np.uint8)
    drawn[..., 1] = 255  # opaque where green is the alpha channel
    drawn[5:15, 35:45] = 255
    drawn[:, :20] = drawn[:, 80:] = (255, 255, 0)  # outside the middle square
    channels = 1 if kind in ("gray", "LA", "16-bit", "gray TIFF") else 3
    for orientation in ORIENTATIONS:
        path = save(tmp_path, f"{orientation}", kind, drawn, orientation)
        assert read_header(path).size == (100, 60)
        pixels, changes = load_image(path, (channels, 12, 12))
        assert ("turned upright" in changes) == (orientation > 1 and kind != "gray TIFF")
        red = pixels[..., 0].astype(int)
        assert tuple(map(int, np.unravel_index(red.argmax(), red.shape))) in ((1, 3), (1, 4), (2, 3), (2, 4)), (
            orientation,
            red,
        )
        assert red[:, [0, -1]].max() < 60, orientation
        assert red[1:3, 3:5].min() > 190, orientation


def lanczos(pixels: npt.NDArray[np.float64], start: float, stop: float, size: int) -> npt.NDArray[np.float64]:
    """Rows of `pixels` (H, …) from `start` to `stop` resampled to `size`: windowed sinc, a = 3, in float64."""
    scale = (stop - start) / size
    stretch = max(scale, 1.0)
    rows = np.arange(len(pixels))
    out = np.empty((size, *pixels.shape[1:]))
    for i in range(size):
        distance = (rows + 0.5 - (start + (i + 0.5) * scale)) / stretch
        weight = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
        out[i] = np.tensordot(weight / weight.sum(), pixels, 1)
    return np.rint(out).clip(0, 255)


@pytest.mark.parametrize("size", [(31, 47), (300, 100), (20, 60), (100, 100), (7, 5)])
@pytest.mark.parametrize("shape", [(28, 28), (16, 24), (9, 5)])
def test_crop_and_resampling_agree_with_the_definition_in_float64(
    size: tuple[int, int], shape: tuple[int, int]
) -> None:
    (width, height), (rows, columns) = size, shape
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    crop_width = min(width, height * columns / rows)
    crop_height = min(height, width * rows / columns)
    left, top = (width - crop_width) / 2, (height - crop_height) / 2
    half = lanczos(pixels.astype(np.float64).swapaxes(0, 1), left, left + crop_width, columns).swapaxes(0, 1)
    expected = lanczos(half, top, top + crop_height, rows)
    found = fit_pixels(pixels, (3, rows, columns))
    assert found.shape == (rows, columns, 3)
    assert np.abs(found - expected).max() <= 1


def test_sixteen_bit_gray_is_divided_by_257_and_rounded(tmp_path: Path) -> None:
    values = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "deep.png")
    header = b"P5 256 256 65535\n"
    (tmp_path / "deep.pgm").write_bytes(header + values.astype(">u2").tobytes())
    Image.fromarray(values).save(tmp_path / "deep.tif")
    expected = np.rint(values / 257)
    for name in ("deep.png", "deep.pgm", "deep.tif"):
        pixels, changes = load_image(tmp_path / name, (1, 256, 256))
        assert (pixels[..., 0] == expected).all(), name
        assert "16 bits to 8" in changes
        assert read_header(tmp_path / name).is_gray


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_gray_is_refused_in_training_and_at_inference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type[np.generic]
) -> None:
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    for i in range(30):
        Image.fromarray(scene(8, 8, i)[..., 0]).save(tmp_path / "data" / f"{i:02}.png")
    odd = tmp_path / "data" / "x.tif"
    Image.fromarray(np.ones((8, 8), dtype)).save(odd)
    with pytest.raises(InputError, match=r"x\.tif: has 32-bit pixels"):
        load_image(odd, (1, 8, 8))
    (skipped,) = load_folder(tmp_path / "data").skipped
    assert skipped.startswith(f"{odd} (has 32-bit pixels")


@pytest.mark.parametrize("mode", ["L", "RGB", "16-bit", "1"])
def test_a_transparent_colour_becomes_black(tmp_path: Path, mode: str) -> None:
    """The tRNS chunk of a PNG without an alpha channel names one colour as transparent."""
    white: int | tuple[int, int, int]
    if mode == "16-bit":
        image, white = Image.fromarray(np.full((4, 4), 51_400, np.uint16)), 51_400
        image.putpixel((0, 0), 25_700)
    else:
        image, white = Image.new(mode, (4, 4), "white"), (255, 255, 255) if mode == "RGB" else 255
        image.putpixel((0, 0), (100, 100, 100) if mode == "RGB" else 100)
    image.save(tmp_path / "a.png", transparency=1 if mode == "1" else white)
    pixels, _ = load_image(tmp_path / "a.png", (1, 4, 4))
    assert pixels[1:].max() == 0
    if mode != "1":
        assert pixels[0, 0, 0] == 100


def test_half_transparent_pixels_are_dimmed_alike_with_straight_and_premultiplied_alpha(tmp_path: Path) -> None:
    straight = Image.new("RGBA", (4, 4), (200, 100, 50, 128))
    straight.save(tmp_path / "a.png")
    pixels, _ = load_image(tmp_path / "a.png", (3, 4, 4))
    assert np.abs(pixels[0, 0].astype(int) - np.array([200, 100, 50]) * 128 / 255).max() <= 1
    straight.save(tmp_path / "a.tif", tiffinfo={338: 1})  # ExtraSamples: associated alpha
    straight.convert("RGBa").convert("RGBA").save(tmp_path / "b.png")
    again, _ = load_image(tmp_path / "b.png", (3, 4, 4))
    assert np.abs(pixels.astype(int) - again).max() <= 1


def test_the_manifest_has_the_pixels_version_and_bundles_without_it_still_open(bundle: Path) -> None:
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    assert content["pixels"] == 1
    assert Bundle.open(bundle).manifest.pixels == 1
    del content["pixels"]
    path.write_text(json.dumps(content))
    old = Bundle.open(bundle).manifest
    assert old.pixels is None
    assert "pixels" not in json.loads(old.to_json())
    path.write_text(json.dumps({**content, "pixels": 2}))
    with pytest.raises(BundleError, match="pixels is 2, but this runtime reads image files by version 1"):
        Bundle.open(bundle)


def test_an_image_over_the_limit_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.setattr("runtime.images.decode._MOST_PIXELS", 4095)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InputError, match="64×64 is over 4,095 pixels"):
        load_image(tmp_path / "a.png", (1, 8, 8))


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_do_not_depend_on_the_strips_that_a_large_file_is_converted_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for orientation in ORIENTATIONS:
        for width, height in ((31, 47), (100, 60)):
            path = save(tmp_path, "a", kind, scene(width, height), orientation)
            for shape in ((1, 28, 28), (3, 9, 5), (3, height, width)):
                monkeypatch.setattr("runtime.images.decode._STRIP_PIXELS", 2**20)
                whole, said = load_image(path, shape)
                monkeypatch.setattr("runtime.images.decode._STRIP_PIXELS", 700)
                in_strips, said_then = load_image(path, shape)
                assert (whole == in_strips).all(), (orientation, width, shape)
                assert said == said_then


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "LA", "P"])
def test_the_largest_image_takes_half_a_gigabyte_at_most(tmp_path: Path, mode: str) -> None:
    """Measured in a process of its own: a quarter of a megabyte of file, 2**26 pixels."""
    options: dict[str, Any] = {"transparency": 3} if mode == "P" else {}
    Image.new(mode, (8192, 8192)).save(tmp_path / "a.png", **options)
    program = (
        "import sys; from pathlib import Path; from runtime.images.decode import load_image\n"
        "load_image(Path(sys.argv[1]), (3, 28, 28))\n"
        "print(*(line.split()[1] for line in Path('/proc/self/status').open() if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "a.png"], capture_output=True, check=True)
    assert int(done.stdout) * 1024 < 500e6


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", b"8BPS\0\1" + bytes(99)]
)
def test_what_pillow_would_hand_to_another_program_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match="its format is unknown or not supported"):
        load_image(tmp_path / "a.png", (1, 8, 8))


def test_images_with_the_models_proportions_are_not_cropped() -> None:
    pixels = scene(64, 48)
    assert math.isclose(float(fit_pixels(pixels, (3, 24, 32)).mean()), float(pixels.mean()), abs_tol=1)


def test_a_lab_image_for_a_gray_model_is_that_of_its_rgb_form() -> None:
    image = Image.frombytes("LAB", (9, 7), bytes(i % 251 for i in range(3 * 9 * 7)))
    assert (fit_image(image, (1, 12, 12)) == fit_image(image.convert("RGB"), (1, 12, 12))).all()
