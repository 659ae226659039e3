"""Interpolation, traversal, posterior samples, and the inputs and outputs of `vae-reconstruct`."""

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from runtime.cli import reconstruct
from runtime.errors import InputError
from runtime.files.owner import lock_beside, owning
from runtime.noise import POSTERIOR_STREAM, standard_normal
from runtime.reconstructor import Reconstructor
from trainer.data.dataset import ImageData


@pytest.fixture
def reconstructor(bundle: Path) -> Reconstructor:
    return Reconstructor(bundle, threads=2)


@pytest.mark.parametrize("spherical", [False, True])
def test_an_interpolation_goes_from_one_reconstruction_to_the_other(
    reconstructor: Reconstructor, blobs: ImageData, spherical: bool
) -> None:
    a, b = blobs.test_images[:2]
    way = reconstructor.interpolate(a, b, 7, spherical=spherical)
    assert (way[[0, 6]] == reconstructor.reconstruct(blobs.test_images[:2])).all()
    steps = np.abs(np.diff(way.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < np.abs(way[0].astype(int) - way[6]).mean() + 1


def test_halfway_the_latent_is_the_mean_of_both_or_the_middle_of_the_arc(
    reconstructor: Reconstructor, blobs: ImageData
) -> None:
    a, b = blobs.test_images[:2]
    p, q = reconstructor.encode(np.stack([a, b]))[0].astype(np.float64)
    line = reconstructor.decode(((p + q) / 2)[np.newaxis])
    assert (reconstructor.interpolate(a, b, 3)[1] == line[0]).all()
    bisector = p / np.linalg.norm(p) + q / np.linalg.norm(q)
    middle = bisector / np.linalg.norm(bisector) * (np.linalg.norm(p) + np.linalg.norm(q)) / 2
    arc = reconstructor.decode(middle[np.newaxis])
    assert np.abs(reconstructor.interpolate(a, b, 3, spherical=True)[1].astype(int) - arc[0]).max() <= 1


def test_a_traversal_changes_one_latent_alone(reconstructor: Reconstructor, blobs: ImageData) -> None:
    image = blobs.test_images[0]
    mean = reconstructor.encode(image[np.newaxis])[0][0]
    way = reconstructor.traverse(image, 2, [-1.5, mean[2], 4.0])
    assert (way[1] == reconstructor.reconstruct(image[np.newaxis])[0]).all()
    changed = mean.copy()
    changed[2] = 4
    assert (way[2] == reconstructor.decode(changed[np.newaxis])[0]).all()


def test_posterior_samples_follow_mean_variance_and_the_posterior_stream(
    reconstructor: Reconstructor, blobs: ImageData
) -> None:
    images = blobs.test_images[:20]
    mean, log_var = reconstructor.encode(images)
    noise = standard_normal(3, np.arange(5, 25), reconstructor.latent_dim, stream=POSTERIOR_STREAM)
    expected = reconstructor.decode(mean + np.sqrt(np.exp(log_var)) * noise)
    found = reconstructor.sample_posterior(images, 3, first=5)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != reconstructor.sample_posterior(images, 4, first=5)).any()


def test_an_image_does_not_depend_on_its_neighbours(reconstructor: Reconstructor, blobs: ImageData) -> None:
    images = np.concatenate([blobs.train_images, blobs.test_images])
    together = reconstructor.encode(images)
    alone = [reconstructor.encode(images[i : i + 1]) for i in (0, 127, 128, 519)]
    for i, parts in zip((0, 127, 128, 519), alone, strict=True):
        assert all((part[0] == whole[i]).all() for part, whole in zip(parts, together, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, image: r.interpolate(image, image, 1), "steps should be at least 2"),
        (lambda r, image: r.traverse(image, 5, [0]), "dimension should be from 0 to 4"),
        (lambda r, image: r.traverse(image, 0, []), "values should have the shape"),
        (lambda r, image: r.decode(np.full((1, 5), np.nan)), "z should be finite"),
        (lambda r, image: r.decode(np.zeros((1, 4))), "z should have the shape"),
    ],
)
def test_bad_arguments_are_refused_with_what_they_should_be(
    reconstructor: Reconstructor, blobs: ImageData, call: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        call(reconstructor, blobs.test_images[0])  # type: ignore[operator]


def run(bundle: Path, *arguments: object) -> Result:
    return CliRunner().invoke(reconstruct, ["--bundle", str(bundle), *map(str, arguments)])


def test_files_folders_and_arrays_are_read_and_latents_written(bundle: Path, tmp_path: Path, blobs: ImageData) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in (0, 1):
        Image.fromarray(blobs.test_images[i, :, :, 0]).save(folder / f"{i}.png")
    np.save(tmp_path / "more.npy", blobs.test_images[2:5])
    paths = (folder, tmp_path / "more.npy", folder / "1.png")
    result = run(bundle, *paths, "--output", tmp_path / "out.png", "--latents", tmp_path / "l.npz")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "l.npz") as latents:
        mean, log_var = Reconstructor(bundle).encode(blobs.test_images[[0, 1, 2, 3, 4, 1]])
        assert (latents["mean"] == mean).all()
        assert (latents["log_var"] == log_var).all()
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.height > 2 * 12 * 3  # two rows at scale 3, and the errors


def test_of_a_large_folder_twenty_converted_images_are_named_and_the_rest_counted(bundle: Path, tmp_path: Path) -> None:
    for i in range(25):
        Image.new("L", (20, 30), 9 * i).save(tmp_path / f"{i}.png")
    result = run(bundle, tmp_path, "--output", tmp_path / "out" / "sheet.png")
    assert result.exit_code == 0, result.output
    assert result.output.count(": converted, 20×30 to 12×12") == 20
    assert "\nand 5 more images were converted\n" in result.output


def test_another_size_is_converted_and_reported_or_refused_with_strict(bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 30), (255, 0, 0)).save(tmp_path / "big.png")
    result = run(bundle, tmp_path / "big.png", "--output", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert "converted, RGB to L, 20×30 to 12×12" in result.output
    (tmp_path / "out.png").unlink()
    result = run(bundle, tmp_path / "big.png", "--strict", "--output", tmp_path / "out.png")
    assert result.exit_code == 1
    assert not (tmp_path / "out.png").exists()


def test_sixteen_bits_keep_their_brightness(bundle: Path, tmp_path: Path) -> None:
    from runtime.images.decode import load_image

    Image.fromarray(np.full((12, 12), 0x4000, np.uint16)).save(tmp_path / "deep.png")
    pixels, change = load_image(tmp_path / "deep.png", (1, 12, 12))
    assert set(pixels.ravel()) == {0x40}
    assert "16 bits to 8" in change


@pytest.mark.parametrize("option", ["--interpolate", "--traverse"])
def test_a_folder_of_several_images_in_place_of_one_is_refused(bundle: Path, tmp_path: Path, option: str) -> None:
    (tmp_path / "many").mkdir()
    for name in ("a.png", "many/a.png", "many/b.png"):
        Image.new("L", (12, 12)).save(tmp_path / name)
    ends = [tmp_path / "a.png", tmp_path / "many"] if option == "--interpolate" else [tmp_path / "many"]
    arguments = ["--bundle", bundle, option, *ends, "--output", tmp_path / "x.png"]
    result = CliRunner().invoke(reconstruct, list(map(str, arguments)))
    assert result.exit_code == 1
    assert "many: holds 2 images, but one is needed here" in result.output
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("option", ["--interpolate", "--traverse"])
def test_paths_are_drawn(bundle: Path, tmp_path: Path, blobs: ImageData, option: str) -> None:
    Image.fromarray(blobs.test_images[0, :, :, 0]).save(tmp_path / "a.png")
    images = [tmp_path / "a.png"] * (2 if option == "--interpolate" else 1)
    result = run(bundle, option, *images, "--steps", 4, "--scale", 1, "--output", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    rows = 1 if option == "--interpolate" else 5
    with Image.open(tmp_path / "out.png") as picture:
        width, height = picture.size
    assert height == 2 + rows * 14
    assert width == 2 + 4 * 14 if option == "--interpolate" else width > 2 + 4 * 14  # labels to the left


@pytest.mark.parametrize("arguments", [[], ["a.png", "--traverse", "b.png"], ["a.png", "--output", "a.jpg"]])
def test_bad_usage_exits_with_2(bundle: Path, arguments: list[str]) -> None:
    assert run(bundle, *arguments).exit_code == 2


@pytest.mark.parametrize("option", ["--output", "--latents"])
def test_somebody_elses_file_is_replaced_by_force_alone(
    bundle: Path, tmp_path: Path, blobs: ImageData, option: str
) -> None:
    Image.fromarray(blobs.test_images[0, :, :, 0]).save(tmp_path / "a.png")
    np.savez(tmp_path / "mine.npz", mine=np.arange(3))
    mine, options = {
        "--output": (tmp_path / "a.png", []),
        "--latents": (tmp_path / "mine.npz", ["--output", tmp_path / "out.png"]),
    }[option]
    before = mine.read_bytes()
    result = run(bundle, tmp_path / "a.png", option, mine, *options)
    assert (result.exit_code, "vae-reconstruct did not write it" in result.output) == (1, True), result.output
    assert mine.read_bytes() == before
    assert not (tmp_path / "out.png").exists()
    assert run(bundle, tmp_path / "a.png", option, mine, *options, "--force").exit_code == 0
    assert run(bundle, tmp_path / "a.png", option, mine, *options).exit_code == 0  # now it is ours


def test_a_picture_that_another_process_is_writing_is_refused(bundle: Path, tmp_path: Path, blobs: ImageData) -> None:
    Image.fromarray(blobs.test_images[0, :, :, 0]).save(tmp_path / "a.png")
    output = tmp_path / "out.png"
    with owning(output, lock_beside(output)):
        result = run(bundle, tmp_path / "a.png", "--output", output)
    assert (result.exit_code, f"pid {os.getpid()}) is writing it" in result.output) == (1, True)
