"""Networks: images of any size keep their shape, and the layers can be exported."""

import numpy as np
import pytest
import torch

from trainer.errors import SettingsError
from trainer.model.vae import ModelConfig, build_model, start_at_mean
from trainer.settings import CHOICES, PRESETS

SHAPES = [(1, 28, 28), (3, 32, 32), (1, 13, 9), (3, 8, 11)]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("network", CHOICES["network"])
@pytest.mark.parametrize("shape", SHAPES)
def test_images_keep_their_shape(shape: tuple[int, int, int], network: str, batch_norm: bool) -> None:
    model = build_model(ModelConfig(shape, (4, 8, 6), 5, network, batch_norm), seed=0)
    image, mean, log_var = model(torch.rand(3, *shape))
    assert image.shape == (3, *shape)
    assert mean.shape == log_var.shape == (3, 5)
    assert 0 <= image.min() <= image.max() <= 1


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_in_evaluation_an_image_does_not_depend_on_its_batch(network: str) -> None:
    model = build_model(ModelConfig((1, 12, 12), (4, 8), 5, network, batch_norm=True), seed=0)
    model(torch.rand(16, 1, 12, 12))  # moves the running statistics
    model.eval()
    images = torch.rand(6, 1, 12, 12)
    torch.testing.assert_close(model(images)[0][:2], model(images[:2])[0])


@pytest.mark.parametrize("network", ["conv", "resize-conv", "conv4x4"])
def test_only_the_decoder_of_conv_has_a_checkerboard(network: str) -> None:
    """With equal weights and no biases, all pixels but those near the border are sums of as many equal terms."""
    model = build_model(ModelConfig((1, 32, 32), (2, 3), 2, network), seed=0)
    for name, weight in model.decoder.named_parameters():
        weight.data.fill_(0.0 if name.endswith("bias") else 0.1)
    image = model.decode_logits(torch.ones(1, 2))[0, 0, 12:20, 12:20].detach()
    is_even = bool((image - image[0, 0]).abs().max() < 1e-5 * image.max())
    assert is_even == (network != "conv")


def test_conv_preset_has_about_a_million_parameters() -> None:
    model = build_model(ModelConfig.of(PRESETS["conv"], (1, 28, 28)), seed=0)
    assert 0.8e6 < sum(parameter.numel() for parameter in model.parameters()) < 1.25e6


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_fresh_decoder_that_starts_at_the_mean_draws_about_the_mean(network: str) -> None:
    images = np.empty((10, 12, 12, 3), np.uint8)
    images[:] = (0, 64, 200)
    model = build_model(ModelConfig((3, 12, 12), (4, 8), 5, network), seed=0)
    start_at_mean(model, images)
    drawn = model.decode(torch.zeros(1, 5)).mean(dim=(0, 2, 3))
    torch.testing.assert_close(drawn, torch.tensor([0, 64, 200]) / 255, rtol=0, atol=0.06)


def test_more_stages_than_the_image_has_halvings_are_refused() -> None:
    with pytest.raises(SettingsError, match="4 convolutional stages need images of at least 16 pixels a side"):
        ModelConfig((1, 12, 28), (4, 4, 4, 4), 5, "conv")
