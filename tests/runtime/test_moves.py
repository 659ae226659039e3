"""Moving an image in the latent space: variations, toward a class, along a direction."""

import math
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from PIL import Image

from runtime.cli import reconstruct
from runtime.errors import InputError
from runtime.reconstructor import Reconstructor
from trainer.data.dataset import ImageData


@pytest.fixture
def reconstructor(mixture_bundle: Path) -> Reconstructor:
    return Reconstructor(mixture_bundle)


def quarter(image: npt.NDArray[np.uint8]) -> int:
    """The quarter of a blob's image in which its light lies: its class."""
    return int(image[..., 0].astype(float).reshape(2, 6, 2, 6).sum((1, 3)).argmax())


def hardly_by_chance(count: int, chance: float) -> int:
    """The smallest number of successes that `count` trials reach less than once in a million times."""
    tail = 0.0
    for successes in range(count, -1, -1):
        tail += math.comb(count, successes) * chance**successes * (1 - chance) ** (count - successes)
        if tail >= 1e-6:
            return successes + 1
    raise AssertionError("every number is reached more often")


def test_variations_are_like_the_image_and_differ(reconstructor: Reconstructor, blobs: ImageData) -> None:
    image = blobs.test_images[0]
    drawn = reconstructor.variations(image, 6, seed=2)
    assert len(np.unique(drawn.reshape(6, -1), axis=0)) == 6
    assert (reconstructor.variations(image, 3, seed=2) == drawn[:3]).all()
    exact = reconstructor.reconstruct(image[np.newaxis])
    assert (reconstructor.variations(image, 2, spread=0) == exact).all()
    near, far = (np.abs(reconstructor.variations(image, 50, spread=s).astype(int) - exact).mean() for s in (0.5, 2))
    assert near < far


def test_moving_toward_a_class_ends_in_it(reconstructor: Reconstructor, blobs: ImageData) -> None:
    assert blobs.test_labels is not None
    right = 0
    for image in blobs.test_images[:40]:
        steps = reconstructor.move(image, "south west", [0, 1])
        assert np.abs(steps[0].astype(int) - reconstructor.reconstruct(image[np.newaxis])[0]).max() <= 1
        right += quarter(steps[1]) == 2
    assert right >= hardly_by_chance(40, 1 / 4)  # not all: the classes touch, and an edge arrives at an edge


def test_an_image_moved_toward_its_own_class_stays(reconstructor: Reconstructor, blobs: ImageData) -> None:
    prior = reconstructor.bundle.prior()
    assert prior is not None
    image = blobs.test_images[0]
    own = int(prior.class_of(reconstructor.encode(image[np.newaxis])[0])[0])
    assert (reconstructor.move(image, own) == reconstructor.reconstruct(image[np.newaxis])).all()


def test_most_likely_class_is_mostly_the_label(reconstructor: Reconstructor, blobs: ImageData) -> None:
    prior = reconstructor.bundle.prior()
    assert prior is not None
    right = prior.class_of(reconstructor.encode(blobs.test_images)[0]) == blobs.test_labels
    assert right.sum() >= hardly_by_chance(len(right), 1 / 4)


def test_most_likely_class_is_that_of_the_largest_density(reconstructor: Reconstructor) -> None:
    prior = reconstructor.bundle.prior()
    assert prior is not None
    z = np.random.default_rng(0).standard_normal((20, prior.latent_dim))
    mean, scale = prior.shift.astype(float) * prior.scale, prior.scale.astype(float)
    densities = np.exp(-(((z[:, None] - mean) / scale) ** 2).sum(2) / 2) / scale.prod(1)
    by_class = np.stack([densities @ prior.probabilities(number) for number in range(4)])
    assert (prior.class_of(z) == by_class.argmax(0)).all()


def test_a_direction_between_two_sets_moves_from_one_to_the_other(
    reconstructor: Reconstructor, blobs: ImageData
) -> None:
    west, east = (blobs.test_images[blobs.test_labels == label] for label in (0, 1))
    way = reconstructor.direction(east, west)
    assert (way == -reconstructor.direction(west, east)).all()
    moved = [quarter(reconstructor.move(image, way)[0]) for image in west]
    assert np.isin(moved, (1, 3)).sum() >= hardly_by_chance(len(west), 1 / 2)  # in the east, north or south
    assert (reconstructor.move(west[0], way - way) == reconstructor.reconstruct(west[:1])).all()


def test_effects_tell_active_latents_from_dead_ones(reconstructor: Reconstructor, blobs: ImageData) -> None:
    image = blobs.test_images[0]
    effects = reconstructor.effects(image)
    ends = reconstructor.traverse(image, 1, [-2, 2]).astype(int)
    assert effects[1] == pytest.approx(np.abs(ends[0] - ends[1]).mean(), abs=0.02)


def test_wrong_moves_are_refused(reconstructor: Reconstructor, bundle: Path, blobs: ImageData) -> None:
    image = blobs.test_images[0]
    with pytest.raises(InputError, match="there is no class 'cow'"):
        reconstructor.move(image, "cow")
    with pytest.raises(InputError, match="which has no classes"):
        Reconstructor(bundle).move(image, "3")
    with pytest.raises(InputError, match=r"a direction should have the shape \(5,\)"):
        reconstructor.move(image, np.zeros(4))
    with pytest.raises(InputError, match="amount should be a finite number"):
        reconstructor.move(image, "3", float("nan"))
    with pytest.raises(InputError, match="spread should be"):
        reconstructor.variations(image, 2, spread=-1)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(reconstruct, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_command_draws_variations_moves_and_traversals(mixture_bundle: Path, blobs: ImageData, tmp_path: Path) -> None:
    for label in (0, 1):
        folder = tmp_path / str(label)
        folder.mkdir()
        for i, image in enumerate(blobs.test_images[blobs.test_labels == label][:4]):
            Image.fromarray(image[..., 0]).save(folder / f"{i}.png")
    image, other = tmp_path / "0" / "0.png", tmp_path / "0" / "1.png"
    options = ("--bundle", mixture_bundle, "--scale", 1, "--output", tmp_path / "out.png")

    def size() -> tuple[int, int]:
        with Image.open(tmp_path / "out.png") as picture:
            return picture.size

    assert "an image and 4 variations" in run(image, other, "--variations", 4, *options)
    assert size() == (5 * 14 + 2, 2 * 14 + 2)
    assert "toward class north east" in run(image, "--toward", "north east", "--steps", 6, *options)
    assert size() == (6 * 14 + 2, 14 + 2)
    run(image, "--direction", tmp_path / "1", tmp_path / "0", "--steps", 3, *options)
    assert size() == (3 * 14 + 2, 14 + 2)
    assert "2 latents from -3 to 3" in run("--traverse", image, "--top", 2, *options)
    assert size()[1] == 2 * 14 + 2
    whole = run("--traverse", image, "--bundle", mixture_bundle, "--scale", 32, "--output", tmp_path / "out.png")
    assert size()[1] <= 2000
    assert re.search("[1-3] more change it less; --top [1-5] shows all\n", whole)
    assert "give one of these" in run(image, "--toward", "3", "--variations", 2, *options, code=2)
    assert "there is no class" in run(image, "--toward", "cow", *options, code=1)
    assert "--top" in run(image, "--top", 2, *options, code=2)
