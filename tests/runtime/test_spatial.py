"""A foreign convolutional bundle with spatial latents behaves as any other: variants, effects of latents, its check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime import Reconstructor, Sampler
from runtime.verify import verify_bundle


def test_its_verification_passes(spatial_bundle: Path) -> None:
    assert verify_bundle(spatial_bundle).passed


@pytest.mark.parametrize(("precision", "smallest_psnr_db"), [("int8", 35), ("fp16", 60)])
def test_variants_have_the_same_latents_and_nearly_the_same_images(
    spatial_bundle: Path, precision: str, smallest_psnr_db: float
) -> None:
    exact, small = Sampler(spatial_bundle), Sampler(spatial_bundle, precision=precision)
    z = exact.latents(range(64), seed=5)
    assert (small.latents(range(64), seed=5) == z).all()
    error = small.decode(z) - exact.decode(z)
    assert 0 < np.square(error).mean() < 10 ** (-smallest_psnr_db / 10)


def test_effects_of_many_latents_are_those_of_each_alone(spatial_bundle: Path) -> None:
    reconstructor = Reconstructor(spatial_bundle)
    image = Sampler(spatial_bundle).sample(1)[0]
    effects = reconstructor.effects(image)
    assert effects.shape == (144,)
    for dimension in (0, 130, 143):
        low, high = reconstructor.traverse(image, dimension, [-2, 2]).astype(int)
        assert effects[dimension] == pytest.approx(np.abs(low - high).mean(), abs=0.01)
