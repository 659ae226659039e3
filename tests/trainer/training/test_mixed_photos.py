"""A folder as people have them: other sizes, formats, orientations and modes, and files that cannot be read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from trainer import load
from trainer.cli.evaluate import evaluate
from trainer.cli.train import train

COLOURS = {"lake": (30, 60, 200), "wood": (30, 160, 60)}


def photo(colour: tuple[int, int, int], size: tuple[int, int], seed: int) -> Image.Image:
    """A bright half above, `colour` below, and some noise; size: width, height."""
    pixels = np.random.default_rng(seed).integers(0, 25, (size[1], size[0], 3), np.uint8)
    pixels[: size[1] // 2] += 220
    pixels[size[1] // 2 :] += np.array(colour, np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """48 files of two classes that can be read, and two that cannot."""
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    sizes = [(40, 30), (30, 40), (64, 64), (9, 50), (33, 21), (120, 80)]
    folder = tmp_path / "photos"
    for name, colour in COLOURS.items():
        (folder / name / "2024 summer").mkdir(parents=True)
        for i in range(24):
            image, place = photo(colour, sizes[i % 6], i), folder / name / f"{i:02}"
            match i % 8:
                case 0:  # as a phone held upright stores it
                    exif = Image.Exif()
                    exif[0x0112] = 6
                    image.transpose(Image.Transpose.ROTATE_90).save(place.with_suffix(".jpg"), exif=exif, quality=95)
                case 1:
                    image.putalpha(255)
                    image.save(place.with_suffix(".png"))
                case 2:  # 16-bit gray, as scanners make it
                    gray = np.asarray(image.convert("L")).astype(np.uint16) * 257
                    Image.fromarray(gray).save(place.with_suffix(".png"))
                case 3:
                    image.save(place.with_suffix(".webp"), quality=95)
                case 4:
                    image.convert("CMYK").save(place.with_suffix(".JPEG"), quality=95)
                case 5:
                    image.quantize(64).save(place.with_suffix(".gif"))
                case 6:
                    image.save(place.with_suffix(".bmp"))
                case _:
                    image.save(place.parent / "2024 summer" / f"{i}.tif")
    whole = io.BytesIO()
    photo((0, 0, 0), (40, 40), 0).save(whole, "JPEG")
    (folder / "lake" / "cut short.jpg").write_bytes(whole.getvalue()[:300])
    (folder / "wood" / "a page.webp").write_text("<html>404</html>")
    return folder


def test_every_readable_file_is_seen_upright_and_in_its_class(photos: Path) -> None:
    data = load(photos, image_size=16)
    assert repr(data) == "<photos: 40 training and 8 test images of 16×16×3, 2 classes: lake, wood>"
    assert len(data.skipped) == 2
    assert data.train_labels is not None
    above = data.train_images[:, :7].mean((1, 2))
    below = data.train_images[:, 9:].mean((1, 2))
    assert above.min() > 200
    assert below.max() < 215
    is_colour = np.ptp(below, axis=1) > 20  # all but the scanned
    assert is_colour.sum() >= 30
    expected = np.array(list(COLOURS.values()))[data.train_labels] + 12
    assert np.abs(below - expected)[is_colour].max() < 25


def test_the_command_trains_on_them_and_names_what_it_left_out_and_held_out(photos: Path, tmp_path: Path) -> None:
    options = ["--image-size", "16", "--epochs", "2", "--hidden", "4", "--latent-dim", "2", "--device", "cpu"]
    result = CliRunner().invoke(train, ["--dataset", str(photos), "--runs", str(tmp_path / "runs"), *options])
    assert result.exit_code == 0, result.output
    assert "left out 2 files that cannot be read:" in result.output
    assert "cut short.jpg" in result.output
    assert "a page.webp" in result.output
    assert "the 8 are held out for testing, named in held_out.txt" in result.output
    assert f"cache   {tmp_path / 'cache'}" in result.output
    run = tmp_path / "runs" / "photos-photo-1"
    held_out = (run / "held_out.txt").read_text(encoding="utf-8").splitlines()
    assert len(held_out) == len(set(held_out)) == 8
    assert all((photos / name).is_file() for name in held_out)
    few = ["--k", "10", "--images", "4", "--samples", "8", "--threads", "1"]
    result = CliRunner().invoke(evaluate, [str(run), *few])
    assert result.exit_code == 0, result.output


def test_the_cache_lies_where_it_is_asked_for_and_is_cleared(photos: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "disk"
    options = ["--image-size", "16", "--epochs", "1", "--hidden", "4", "--latent-dim", "2", "--device", "cpu"]
    arguments = ["--dataset", str(photos), "--runs", str(tmp_path / "runs"), *options]
    result = CliRunner().invoke(train, [*arguments, "--cache-dir", str(elsewhere)])
    assert result.exit_code == 0, result.output
    (kept,) = elsewhere.iterdir()
    assert not (tmp_path / "cache").exists()
    assert f"cache   {kept}" in result.output

    size = kept.stat().st_size / 1e6
    (elsewhere / "diary.txt").write_text("mine")
    result = CliRunner().invoke(train, ["--clear-cache", "--cache-dir", str(elsewhere)])
    assert result.exit_code == 0, result.output
    assert result.output == f"removed 1 file, {size:.1f} MB, from {elsewhere}\n"
    assert [path.name for path in elsewhere.iterdir()] == ["diary.txt"]
    assert load(photos, image_size=16, cache_dir=tmp_path / "third").cache is not None
    assert len(list((tmp_path / "third").iterdir())) == 1
