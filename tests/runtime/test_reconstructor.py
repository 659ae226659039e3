"""Encoding and decoding without PyTorch agree with the model in PyTorch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from runtime import InputError, Reconstructor
from trainer.checkpoint import load_checkpoint
from trainer.data.dataset import ImageData
from trainer.training.run_folder import Run


def test_encoding_agrees_with_the_model_in_float64(bundle: Path, tiny_run: Run, blobs: ImageData) -> None:
    model = load_checkpoint(tiny_run.best).build_model().double()
    with torch.no_grad():
        exact = model.encode(torch.from_numpy(blobs.test_images / 255.0).permute(0, 3, 1, 2))
    for found, expected in zip(Reconstructor(bundle).encode(blobs.test_images), exact, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_reconstruction_goes_through_the_posterior_mean(bundle: Path, tiny_run: Run, blobs: ImageData) -> None:
    model = load_checkpoint(tiny_run.best).build_model().double()
    with torch.no_grad():
        exact, _, _ = model(torch.from_numpy(blobs.test_images / 255.0).permute(0, 3, 1, 2))
    expected = np.rint(255 * exact.permute(0, 2, 3, 1).numpy())
    found = Reconstructor(bundle).reconstruct(blobs.test_images)
    assert np.abs(found - expected).max() <= 1


def test_float_and_uint8_images_are_encoded_alike(bundle: Path, blobs: ImageData) -> None:
    reconstructor = Reconstructor(bundle)
    floats = blobs.test_images.transpose(0, 3, 1, 2) / np.float32(255)
    for a, b in zip(reconstructor.encode(blobs.test_images), reconstructor.encode(floats), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 12, 12), np.uint8), r"images should be uint8 \(N, 12, 12, 1\)"),
        (np.zeros((2, 28, 28, 1), np.uint8), r"images should be uint8 \(N, 12, 12, 1\)"),
        (np.zeros((0, 12, 12, 1), np.uint8), "images should hold at least one image"),
        (np.full((1, 1, 12, 12), 255.0), r"images should be in \[0, 1\] without NaN, but reach from 255.0"),
        (np.full((1, 1, 12, 12), -0.1), r"images should be in \[0, 1\]"),
        (np.full((1, 1, 12, 12), np.nan), r"images should be in \[0, 1\]"),
        (np.zeros((1, 1, 12, 12), np.int32), "images should be uint8"),
    ],
)
def test_images_of_another_shape_are_refused(bundle: Path, images: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Reconstructor(bundle).encode(images)
