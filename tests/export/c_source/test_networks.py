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
from export.c_source.simulate import exponential, sigmoid, silu, simulate, tanh
from export.errors import ExportError
from export.formats.to_onnx import onnx_bytes, to_onnx
from export.specs import GraphSpec
from runtime.c_library import Library, find_compiler
from runtime.manifest import Metadata, Port
from runtime.noise import NOISE_VERSION, standard_normal
from tests.export.c_source.conftest import CONFIGS, Written
from tests.hosts.helpers import missing

LATENT_DIM, SHAPE = 8, (2, 6, 4)
METADATA = Metadata("0" * 16, NOISE_VERSION, LATENT_DIM, SHAPE, {"architecture": "foreign"})


@pytest.mark.parametrize("name", CONFIGS)
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


def foreign(module: nn.Module) -> bytes:
    with torch.no_grad():
        image = module.eval()(torch.zeros(2, LATENT_DIM))
    z = Port("z", "float32", ("N", LATENT_DIM), None)
    return onnx_bytes(
        to_onnx(
            GraphSpec("decoder", module, (z,), (Port("image", "float32", ("N", *image.shape[1:]), (0, 1)),)), METADATA
        )
    )


@pytest.mark.parametrize("kind", [SpatialLatents, Rows, Divided])
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


class GroupNormalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GroupNorm(2, 2)

    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.silu(self.layer(z.reshape(-1, 2, 2, 2)))


class Product(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return (z * torch.tanh(z)).reshape(-1, 2, 2, 2)


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
        (GroupNormalised(), r"operator InstanceNormalization \(\w+\), and C source has no such layer"),
        (Product(), r"operator Mul \(\w+\), and C source combines two tensors by addition only"),
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
    ):
        error = np.abs(function(x) - exact) / np.maximum(np.abs(exact), np.finfo(np.float32).tiny)
        assert error.max() < 4e-7, function.__name__


def test_functions_at_the_ends_are_finite() -> None:
    ends = np.array([-np.inf, -3e38, -1e4, 1e4, 3e38, np.inf], np.float32)
    np.testing.assert_array_equal(tanh(ends), [-1, -1, -1, 1, 1, 1])
    assert (sigmoid(ends)[:3] < 1e-37).all()
    assert (sigmoid(ends)[3:] == 1).all()


def test_a_step_that_nothing_reads_is_left_out() -> None:
    network = fold(read_network("decoder", foreign(SpatialLatents())))
    assert isinstance(network, Network)
    assert "sigmoid" not in [getattr(step, "name", "") for step in network.steps]  # part of SiLU
