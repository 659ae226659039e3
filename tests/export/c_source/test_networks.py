"""ONNX → steps: the numbers of the model, few steps, and a sentence for what C source does not have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.c_source.emit import emit
from export.c_source.fold import fold
from export.c_source.network import Network, Reorder, Scale
from export.c_source.read_onnx import read_network
from export.c_source.self_test import expected_values
from export.c_source.simulate import erf, exponential, inverse_root, sigmoid, silu, simulate, tanh
from export.errors import ExportError
from export.formats.to_onnx import onnx_bytes, to_onnx
from export.specs import GraphSpec
from runtime.c_library import Library, find_compiler
from runtime.manifest import Metadata, Port
from runtime.noise import NOISE_VERSION, standard_normal
from tests.export.c_source.conftest import CONFIGS, FOREIGN, Written
from tests.hosts.helpers import missing

LATENT_DIM, SHAPE = 8, (2, 6, 4)
METADATA = Metadata("0" * 16, NOISE_VERSION, LATENT_DIM, SHAPE, {"architecture": "foreign"})


@pytest.mark.parametrize("name", [*CONFIGS, FOREIGN])
def test_numbers_are_those_of_the_model(name: str, written: Callable[[str], Written]) -> None:
    found = written(name)
    channels, height, width = found.metadata.image_shape
    z = standard_normal(0, np.arange(9), found.metadata.latent_dim)
    image = torch.rand(9, channels, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model = found.model.double()
        decoded = model.decode(torch.from_numpy(z).double()).numpy()
        encoded = [output.numpy() for output in model.encode(image.double())]
        model.float()
    (rows,) = simulate(found.decoder, z)
    np.testing.assert_allclose(
        rows.reshape(9, height, width, channels).transpose(0, 3, 1, 2), decoded, rtol=0, atol=2e-6
    )
    given = image.numpy().transpose(0, 2, 3, 1).reshape(9, -1)
    for output, expected in zip(simulate(found.encoder, given), encoded, strict=True):
        np.testing.assert_allclose(output, expected, rtol=4e-6, atol=4e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_batch_normalisation_and_changes_of_order_cost_nothing(name: str, written: Callable[[str], Written]) -> None:
    found = written(name)
    assert not [step for step in (*found.decoder.steps, *found.encoder.steps) if isinstance(step, Scale | Reorder)]


class SpatialLatents(nn.Module):
    """A decoder in the manner of diffusers: latents are an image, activations SiLU, values in [-1, 1] until the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 20, 3, padding=1)
        self.norm = nn.BatchNorm2d(20)
        self.up = nn.ConvTranspose2d(20, 5, (4, 3), stride=(2, 1), padding=1, output_padding=(0, 0))
        self.skip = nn.Conv2d(5, 5, 3, padding=2, dilation=2)
        self.last = nn.Conv2d(5, SHAPE[0], 1, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        x = z.reshape(-1, 2, 2, 2) * 3.0
        x = nn.functional.silu(self.norm(self.first(x)))
        x = self.up(x)
        x = nn.functional.leaky_relu(x + self.skip(x), 0.2).clamp(max=0.9)
        x = nn.functional.pad(x, (0, 0))
        return (torch.tanh(self.last(x)) + 1) / 2


class Rows(nn.Module):
    """A convolution on what is given, flattened, and back to an image by fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1, stride=(1, 2))
        self.second = nn.Linear(6, SHAPE[0] * SHAPE[1] * SHAPE[2])

    def forward(self, z: Tensor) -> Tensor:
        x = torch.relu(self.first(z.reshape(-1, 2, 2, 2)))
        x = self.second(x.flatten(1)).reshape(-1, *SHAPE)
        return torch.sigmoid(2 - torch.tanh(x) * torch.tensor([0.5, 2.0]).reshape(2, 1, 1))


class Divided(nn.Module):
    """Vectors and images in parts of unequal size."""

    def __init__(self) -> None:
        super().__init__()
        self.few, self.many = nn.Linear(3, 8), nn.Linear(5, 8)
        self.first = nn.Conv2d(2, 7, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        few, many = z.split((3, 5), 1)
        x = self.first((self.few(few) + self.many(many)).reshape(-1, 2, 2, 2))
        left, _, right = x.split((3, 1, 3), 1)
        return torch.sigmoid(left + torch.tanh(right)) * 0.9


class Normalized(nn.Module):
    """What decoders of others are mostly made of: normalised groups, SiLU, convolutions after the nearest pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(LATENT_DIM, 36, bias=False), nn.BatchNorm1d(36)
        self.groups, self.convolution = nn.GroupNorm(3, 6), nn.Conv2d(6, 6, 3, padding=1)
        self.one_group, self.every_channel = nn.GroupNorm(1, 6), nn.InstanceNorm2d(6, affine=True)
        self.last = nn.Conv2d(6, SHAPE[0], 3, padding=1, padding_mode="replicate")
        with torch.no_grad():
            for norm in (self.norm, self.groups, self.one_group, self.every_channel):
                norm.weight.uniform_(0.5, 2)
                norm.bias.normal_()

    def forward(self, z: Tensor) -> Tensor:
        x = nn.functional.gelu(self.norm(self.first(z))).unflatten(1, (6, 3, 2))
        x = nn.functional.interpolate(nn.functional.silu(self.groups(x)), scale_factor=2)
        x = x + self.convolution(nn.functional.elu(self.one_group(x), 0.7))
        x = nn.functional.interpolate(self.every_channel(x), size=(9, 5))
        return torch.sigmoid(self.last(x))


class Moved(nn.Module):
    """Layer normalisation, sub-pixel convolution, reflected and wrapped edges, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(LATENT_DIM, 24), nn.LayerNorm(24)
        self.convolution = nn.Conv2d(2, 8, 3, padding=1, padding_mode="reflect")
        self.last = nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")
        with torch.no_grad():
            self.norm.weight.uniform_(0.5, 2)
            self.norm.bias.normal_()

    def forward(self, z: Tensor) -> Tensor:
        x = self.norm(self.first(z))[:, :, None, None].reshape(-1, 2, 4, 3)
        value, gate = self.last(nn.functional.pixel_shuffle(self.convolution(x), 2)).chunk(2, 1)
        return torch.sigmoid(value * torch.tanh(gate))


def foreign(module: nn.Module) -> bytes:
    with torch.no_grad():
        image = module.eval()(torch.zeros(2, LATENT_DIM))
    z = Port("z", "float32", ("N", LATENT_DIM), None)
    return onnx_bytes(
        to_onnx(
            GraphSpec("decoder", module, (z,), (Port("image", "float32", ("N", *image.shape[1:]), (0, 1)),)), METADATA
        )
    )


@pytest.mark.parametrize("kind", [SpatialLatents, Rows, Divided, Normalized, Moved])
def test_a_foreign_module_is_the_same_in_numpy_and_in_c(kind: type[nn.Module]) -> None:
    torch.manual_seed(3)
    module = kind()
    z = standard_normal(1, np.arange(5), LATENT_DIM)
    with torch.no_grad():
        image = module.eval()(torch.from_numpy(z)).numpy()
    shape = image.shape[1:]
    metadata = Metadata("0" * 16, NOISE_VERSION, LATENT_DIM, shape, {"architecture": "foreign"})
    network = fold(read_network("decoder", foreign(module)))
    (rows,) = simulate(network, z)
    images = rows.reshape(5, *shape[1:], shape[0]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(images, image, rtol=0, atol=2e-6)
    compiler = find_compiler()
    if compiler is None:
        missing("cc is not installed")
    sources = emit(network, None, metadata, expected_values(network, None, shape))
    files = {"generator.h": sources.header.encode(), "generator.c": sources.source.encode()}
    library = Library(files, compiler, ("-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC"))
    assert library.decode(z, shape).tobytes() == images.tobytes()


class Softmax(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return torch.softmax(z, 1).reshape(-1, 2, 2, 2)


class Alone(nn.Module):
    """One layer on images of two channels."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.layer(z.reshape(-1, 2, 2, 2))
        return image


class Difference(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return (z - torch.tanh(z)).reshape(-1, 2, 2, 2)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Softmax(), r"decoder: its ONNX graph has the operator Softmax \(\w+\), and C source has no such layer"),
        (
            Alone(nn.Conv2d(2, 4, 1, groups=2)),
            r"operator Conv \(\w+\), and C source knows two dimensions, one group and explicit padding",
        ),
        (
            Alone(nn.ConvTranspose2d(2, 4, 2, groups=2)),
            r"operator ConvTranspose \(\w+\), and C source knows two dimensions, one group",
        ),
        (
            Alone(nn.Upsample(scale_factor=2, mode="bilinear")),
            r"Resize \(\w+\), and C source repeats the nearest pixel",
        ),
        (Alone(nn.ZeroPad2d(1)), r"Pad \(\w+\), and C source repeats pixels beyond the edge only; zeros belong"),
        (
            Alone(nn.LayerNorm(2)),
            r"LayerNormalization \(\w+\), and C source normalises vectors, and channels of images",
        ),
        (Difference(), r"operator Sub \(\w+\), and C source combines two tensors by addition and multiplication only"),
    ],
)
def test_what_has_no_c_source_is_refused_by_name(module: nn.Module, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        read_network("decoder", foreign(module))


def test_functions_are_within_a_few_units_in_the_last_place() -> None:
    x = np.concatenate([np.linspace(-80, 80, 200_001), np.linspace(-2, 2, 200_001)]).astype(np.float32)
    wide = x.astype(np.float64)
    for function, exact in (
        (exponential, np.exp(wide)),
        (tanh, np.tanh(wide)),
        (sigmoid, 1 / (1 + np.exp(-wide))),
        (silu, wide / (1 + np.exp(-wide))),
        (erf, torch.erf(torch.from_numpy(wide)).numpy()),
    ):
        error = np.abs(function(x) - exact) / np.maximum(np.abs(exact), np.finfo(np.float32).tiny)
        assert error.max() < 4e-7, function.__name__


def test_the_inverse_root_is_within_two_units_in_the_last_place_and_not_fooled_by_size() -> None:
    x = np.geomspace(1e-12, 1e12, 100_001).astype(np.float32)
    np.testing.assert_allclose(inverse_root(x), 1 / np.sqrt(x.astype(np.float64)), rtol=2.4e-7)


def test_functions_at_the_ends_are_finite() -> None:
    ends = np.array([-np.inf, -3e38, -1e4, 1e4, 3e38, np.inf], np.float32)
    np.testing.assert_array_equal(tanh(ends), [-1, -1, -1, 1, 1, 1])
    np.testing.assert_array_equal(erf(ends), [-1, -1, -1, 1, 1, 1])
    assert (sigmoid(ends)[:3] < 1e-37).all()
    assert (sigmoid(ends)[3:] == 1).all()


def test_a_step_that_nothing_reads_is_left_out() -> None:
    network = fold(read_network("decoder", foreign(SpatialLatents())))
    assert isinstance(network, Network)
    assert "sigmoid" not in [getattr(step, "name", "") for step in network.steps]  # part of SiLU
