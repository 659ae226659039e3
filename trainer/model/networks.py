"""Encoder and decoder networks: fully connected, and convolutional with residual blocks.

Encoders map images (N, C, H, W) to features (N, F); decoders map latents (N, L) to logits (N, C, H, W). Everything
here can be scripted and exported to ONNX, and in evaluation mode batch normalisation is a fixed scale and shift.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
"""Nonlinearities by name."""


def mlp_encoder(image_shape: tuple[int, int, int], hidden: Sequence[int], activation: str, norm: bool) -> nn.Sequential:
    """Flatten, then fully connected layers of the sizes in `hidden`; F = hidden[-1]."""
    return nn.Sequential(nn.Flatten(), *_dense([math.prod(image_shape), *hidden], activation, norm))


def mlp_decoder(
    latent_dim: int, hidden: Sequence[int], image_shape: tuple[int, int, int], activation: str, norm: bool
) -> nn.Sequential:
    """The mirror image of `mlp_encoder`: `hidden` is given in the encoder's order."""
    return nn.Sequential(
        *_dense([latent_dim, *reversed(hidden)], activation, norm),
        nn.Linear(hidden[0], math.prod(image_shape)),
        nn.Unflatten(1, image_shape),
    )


def conv_encoder(
    image_shape: tuple[int, int, int], channels: Sequence[int], activation: str, norm: bool, network: str
) -> nn.Sequential:
    """One stage for each entry of `channels`: a convolution that halves the sides, then a residual block.

    The first stage has no residual block: at full resolution it would take half of all arithmetic and gain little.
    conv4x4 has none at all: in the minutes that a processor gets, more steps of less arithmetic give sharper photos.
    F = channels[-1] · height · width after the last stage.
    """
    layers: list[nn.Module] = []
    for stage, (inputs, outputs) in enumerate(pairwise([image_shape[0], *channels])):
        layers += [
            nn.Conv2d(inputs, outputs, _kernel(network), stride=2, padding=1, bias=not norm),
            *_finish(outputs, activation, norm),
        ]
        if stage > 0 and network != "conv4x4":
            layers.append(ResidualBlock(outputs, activation, norm))
    return nn.Sequential(*layers, nn.Flatten())


def conv_decoder(
    latent_dim: int,
    channels: Sequence[int],
    image_shape: tuple[int, int, int],
    activation: str,
    norm: bool,
    network: str,
) -> nn.Sequential:
    """The mirror image of `conv_encoder`: `channels` is given in the encoder's order.

    Where the kernel of a transposed convolution is no multiple of its stride, as in conv, some pixels are sums of more
    terms than their neighbours, which leaves a checkerboard on smooth areas of photos (Odena, Dumoulin & Olah 2016).
    conv4x4 gives each pixel four terms; resize-conv repeats pixels and convolves, which takes nine.
    """
    up: Callable[..., nn.Module] = (
        _resize_and_convolve if network == "resize-conv" else partial(_upsample, kernel=_kernel(network))
    )
    sides = _sides(image_shape, len(channels), network)
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, channels[-1] * math.prod(sides[-1]), bias=not norm),
        nn.Unflatten(1, (channels[-1], *sides[-1])),
        *_finish(channels[-1], activation, norm),
    ]
    for stage in range(len(channels) - 1, 0, -1):
        if network != "conv4x4":
            layers.append(ResidualBlock(channels[stage], activation, norm))
        layers += [
            up(channels[stage], channels[stage - 1], sides[stage - 1], bias=not norm),
            *_finish(channels[stage - 1], activation, norm),
        ]
    return nn.Sequential(*layers, up(channels[0], image_shape[0], image_shape[1:], bias=True))


def feature_count(image_shape: tuple[int, int, int], hidden: Sequence[int], network: str) -> int:
    """F, the number of features that the encoder passes to its two heads."""
    return hidden[-1] if network == "mlp" else hidden[-1] * math.prod(_sides(image_shape, len(hidden), network)[-1])


class ResidualBlock(nn.Module):
    """act(x + conv(act(conv(x)))) with 3×3 convolutions that keep the number of channels (He et al. 2016).

    The second convolution is initialised to zero: a new block is the identity (before its activation), so that deep
    networks train stably from the start.
    """

    def __init__(self, channels: int, activation: str, norm: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
        self.between = nn.Sequential(*_finish(channels, activation, norm))
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = ACTIVATIONS[activation]()
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.second(self.between(self.first(x)))
        return self.activation(x)  # type: ignore[no-any-return]


def _dense(sizes: Sequence[int], activation: str, norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers.append(nn.Linear(inputs, outputs, bias=not norm))
        layers += [nn.BatchNorm1d(outputs), ACTIVATIONS[activation]()] if norm else [ACTIVATIONS[activation]()]
    return layers


def _finish(channels: int, activation: str, norm: bool) -> list[nn.Module]:
    """The layers after a convolution: batch normalisation (optional) and the activation."""
    return [*([nn.BatchNorm2d(channels)] if norm else []), ACTIVATIONS[activation]()]


def _kernel(network: str) -> int:
    """Side of the kernels that halve and double the sides of images."""
    return 4 if network == "conv4x4" else 3


def _sides(image_shape: tuple[int, int, int], stages: int, network: str) -> list[tuple[int, int]]:
    """Height and width after each stage. Stages halve them; kernels of 3 round up, those of 4 down."""
    height, width = image_shape[1:]
    odd = _kernel(network) % 2
    sides = []
    for _ in range(stages):
        height, width = (height + odd) // 2, (width + odd) // 2
        sides.append((height, width))
    return sides


def _upsample(inputs: int, outputs: int, size: tuple[int, int], bias: bool, kernel: int) -> nn.ConvTranspose2d:
    """Doubles height and width to `size`; where a side of `size` is odd, to one less (kernel 3) or more (kernel 4)."""
    extra = ((size[0] + kernel) % 2, (size[1] + kernel) % 2)
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=1, output_padding=extra, bias=bias)


def _resize_and_convolve(inputs: int, outputs: int, size: tuple[int, int], bias: bool) -> nn.Sequential:
    """Doubles the sides to `size` by repeating pixels, then convolves."""
    return nn.Sequential(nn.Upsample(size=size, mode="nearest"), nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias))
