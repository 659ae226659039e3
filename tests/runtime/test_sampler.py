"""Sample i of a seed is the same picture in every call."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from export.bundle.build import export_bundle
from runtime import InputError, Sampler
from runtime.noise import standard_normal
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.training.run_folder import Run


def within_one_level(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and int(np.abs(a.astype(int) - b.astype(int)).max()) <= 1


def test_images_agree_with_the_model_in_float64(bundle: Path, tiny_run: Run) -> None:
    model = load_checkpoint(tiny_run.best).build_model().double()
    with torch.no_grad():
        exact = model.decode(torch.from_numpy(standard_normal(3, np.arange(40), 5)).double())
    expected = np.rint(255 * exact.permute(0, 2, 3, 1).numpy()).astype(np.uint8)
    assert within_one_level(Sampler(bundle).sample(40, seed=3), expected)


def test_image_depends_on_its_seed_and_index_and_not_on_batch_size_order_or_threads(bundle: Path) -> None:
    together = Sampler(bundle, threads=1).sample(1500, seed=7)
    other = Sampler(bundle, threads=2)
    for i in (0, 1, 1023, 1024, 1499):
        assert within_one_level(other.sample(1, seed=7, first=i), together[i : i + 1])
    order = np.random.default_rng(0).permutation(1500)
    assert within_one_level(other.sample_indices(order, seed=7), together[order])
    assert not within_one_level(other.sample(5, seed=8), together[:5])


def test_temperature_scales_the_latents_and_zero_gives_one_picture(bundle: Path) -> None:
    sampler = Sampler(bundle)
    assert (sampler.latents([4], temperature=0.5) == sampler.latents([4]) * np.float32(0.5)).all()
    images = sampler.sample(3, temperature=0)
    assert (images == images[0]).all()


def test_decode_gives_floats_in_the_unit_interval(bundle: Path) -> None:
    sampler = Sampler(bundle)
    image = sampler.decode(np.random.default_rng(0).normal(0, 5, (9, 5)))
    assert image.shape == (9, 1, 12, 12)
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1


def test_colour_models_work(tmp_path: Path, random_checkpoint: Callable[..., Checkpoint]) -> None:
    export_bundle(random_checkpoint(image_shape=(3, 5, 4)), tmp_path / "bundle", formats=["onnx"])
    assert Sampler(tmp_path / "bundle").sample(6).shape == (6, 5, 4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": 0}, "num should be at least 1"),
        ({"num": 1, "first": -1}, "first should be at least 0"),
        ({"num": 1, "seed": -1}, "seed should be an integer from 0"),
        ({"num": 1, "temperature": float("nan")}, "temperature should be a finite number"),
        ({"num": 1, "temperature": -1.0}, "temperature should be a finite number"),
    ],
)
def test_arguments_out_of_range_are_refused(bundle: Path, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sampler(bundle).sample(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.zeros((2, 4)), r"z should have the shape \(N, 5\), but has \(2, 4\)"),
        (np.zeros(5), "z should have the shape"),
        (np.full((1, 5), np.nan), "z should be finite"),
    ],
)
def test_latents_of_another_shape_are_refused(bundle: Path, z: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sampler(bundle).decode(z)
