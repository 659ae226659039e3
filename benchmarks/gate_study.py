"""False alarms and misses of the parity gate, over random healthy models and injected faults.

    python benchmarks/gate_study.py [--models 40] [--rows FILE.csv]

Each model is a decoder and an encoder of its own: fully connected or convolutional, 2 to 20 layers, one of five kinds
of activation and normalisation, from 8×8 to 128×128, its weights scaled so that signals keep their size, as training
leaves them. It counts as a false alarm if the gate refuses it. Then the decoder's ONNX file is damaged in five ways,
one at a time, and checked again; a fault that passes is a miss. FILE.csv keeps a row for each model: a run that was
stopped goes on where it ended, and several may share the file, each beginning with another model.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from export import Source, export_bundle
from export.checks.parity import ParityMeasurement, check_graph
from export.checks.reference import Reference
from export.errors import ExportError, ParityError
from export.specs import graphs_of
from runtime.bundle import Bundle
from runtime.manifest import MANIFEST_NAME

KINDS = ("relu", "silu, group norm", "gelu, layer norm", "tanh, batch norm", "leaky relu, instance norm")
_IMAGES = 16


@dataclass(frozen=True)
class Architecture:
    """One random model."""

    seed: int
    network: str
    layers: int
    """Of each half."""
    kind: str
    side: int
    channels: int
    width: int

    def __str__(self) -> str:
        size = f"{self.side}×{self.side}×{self.channels}"
        return f"{self.network}, {self.layers} layers of {self.width}, {self.kind}, {size}"


def architectures(count: int) -> Iterator[Architecture]:
    """The same ones in every run; every combination of network and kind occurs."""
    for seed in range(count):
        random = np.random.default_rng(seed)
        network = ("mlp", "conv")[seed % 2]
        side = int(random.choice([8, 16, 28, 32, 64, 128] if network == "mlp" else [8, 16, 32, 64, 128]))
        yield Architecture(
            seed,
            network,
            layers=int(random.integers(2, 21)),
            kind=KINDS[seed // 2 % len(KINDS)],
            side=side,
            channels=int(random.choice([1, 3])),
            width=int(random.choice([64, 256, 512] if network == "mlp" else [16, 32] if side > 32 else [32, 64, 128])),
        )


class ChannelsLast(nn.Module):
    """Layer norm over the channels of (N, C, H, W), as in ConvNeXt."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        normal: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normal.permute(0, 3, 1, 2)


def _after(kind: str, width: int, conv: bool) -> list[nn.Module]:
    """What follows a layer: normalisation and activation."""
    if kind == "relu":
        return [nn.ReLU()]
    if kind == "silu, group norm":
        return [nn.GroupNorm(8, width), nn.SiLU()]
    if kind == "gelu, layer norm":
        return [ChannelsLast(width) if conv else nn.LayerNorm(width), nn.GELU()]
    if kind == "tanh, batch norm":
        return [nn.BatchNorm2d(width) if conv else nn.BatchNorm1d(width), nn.Tanh()]
    return [nn.InstanceNorm2d(width, affine=True) if conv else nn.GroupNorm(1, width), nn.LeakyReLU(0.2)]


class Split(nn.Module):
    """(N, 2 L, …) → mean and log-variance."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = x.chunk(2, 1)
        return mean, log_var


def build(chosen: Architecture) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    """Decoder, encoder and latent shape."""
    width, shape = chosen.width, (chosen.channels, chosen.side, chosen.side)
    pixels = int(np.prod(shape))
    if chosen.network == "mlp":
        latent: tuple[int, ...] = (16,)
        sizes = [16, *[width] * (chosen.layers - 1)]
        decoder: list[nn.Module] = []
        encoder: list[nn.Module] = [nn.Flatten()]
        for first, second in pairwise(sizes):
            decoder += [nn.Linear(first, second), *_after(chosen.kind, second, False)]
        decoder += [nn.Linear(width, pixels), nn.Unflatten(1, shape), nn.Sigmoid()]
        for first, second in zip([pixels, *sizes[2:]], sizes[1:], strict=False):
            encoder += [nn.Linear(first, second), *_after(chosen.kind, second, False)]
        encoder += [nn.Linear(width, 32), Split()]
        return nn.Sequential(*decoder), nn.Sequential(*encoder), latent
    halvings = min(2, chosen.layers - 1)
    latent = (4, chosen.side // 2**halvings, chosen.side // 2**halvings)
    decoder, encoder = [], []
    for i in range(chosen.layers - 1):
        up = i >= chosen.layers - 1 - halvings
        given = 4 if i == 0 else width
        decoder += [nn.ConvTranspose2d(given, width, 4, 2, 1) if up else nn.Conv2d(given, width, 3, padding=1)]
        decoder += _after(chosen.kind, width, True)
        given = chosen.channels if i == 0 else width
        encoder += [nn.Conv2d(given, width, 4, 2, 1) if i < halvings else nn.Conv2d(given, width, 3, padding=1)]
        encoder += _after(chosen.kind, width, True)
    decoder += [nn.Conv2d(width, chosen.channels, 3, padding=1), nn.Sigmoid()]
    encoder += [nn.Conv2d(width, 8, 3, padding=1), Split()]
    return nn.Sequential(*decoder), nn.Sequential(*encoder), latent


@torch.no_grad()
def like_trained(module: nn.Module, example: Tensor) -> nn.Module:
    """Scale each layer so that its outputs have deviation 1 on `example`; give normalisations weights around 1."""
    for part in module.modules():
        if isinstance(part, nn.GroupNorm | nn.LayerNorm | nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d):
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(0, 0.2)
    if not isinstance(module, nn.Sequential):
        return module.eval()
    value = example
    for part in module:
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            part.weight.mul_(1 / part(value).std())
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            axes = [axis for axis in range(value.ndim) if axis != 1]
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.copy_(value.mean(axes))
            part.running_var.copy_(value.var(axes))
        value = part.eval()(value)
    return module.eval()


def corrupt_weight(model: onnx.ModelProto) -> None:
    """One weight in the middle of the first layer is 0.01 too large."""
    tensor = _weights(model)[0]
    values = numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[values.size // 2] += 0.01
    _set(tensor, values)


def round_weights(model: onnx.ModelProto) -> None:
    """The weights of the largest layer are rounded to float16."""
    tensor = max(_weights(model), key=lambda tensor: int(np.prod(tensor.dims)))
    _set(tensor, numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32))


def swap_channels(model: onnx.ModelProto) -> None:
    """Two inputs of the last layer are swapped."""
    tensor = _weights(model)[-1]
    values = numpy_helper.to_array(tensor).copy()
    axis = 0 if values.ndim == 2 and _is_transposed(model, tensor.name) else 1
    order = np.arange(values.shape[axis])
    order[:2] = order[1::-1]
    _set(tensor, np.take(values, order, axis))


def shift_bias(model: onnx.ModelProto) -> None:
    """The second bias of the graph is 0.001 too large in one place.

    The first one may have no effect: instance normalisation after a layer takes its bias away.
    """
    vectors = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 1 and tensor.data_type == 1]
    tensor = [tensor for tensor in vectors if not tensor.name.endswith("weight")][1]
    values = numpy_helper.to_array(tensor).copy()
    values[0] += 1e-3
    _set(tensor, values)


def approximate_sigmoid(model: onnx.ModelProto) -> None:
    """The sigmoid is replaced by a piecewise linear one."""
    node = next(node for node in reversed(model.graph.node) if node.op_type == "Sigmoid")
    node.op_type = "HardSigmoid"


FAULTS: tuple[Callable[[onnx.ModelProto], None], ...] = (
    corrupt_weight,
    round_weights,
    swap_channels,
    shift_bias,
    approximate_sigmoid,
)


def _weights(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Matrices and kernels, in the order in which they are used."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    names = [node.input[1] for node in model.graph.node if node.op_type in ("Gemm", "MatMul", "Conv", "ConvTranspose")]
    return [tensors[name] for name in names if name in tensors]


def _is_transposed(model: onnx.ModelProto, name: str) -> bool:
    """Whether a matrix is stored as (in, out)."""
    node = next(node for node in model.graph.node if name in node.input)
    return node.op_type == "MatMul" or not any(entry.name == "transB" and entry.i for entry in node.attribute)


def _set(tensor: onnx.TensorProto, values: npt.NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def damaged(bundle: Path, fault: Callable[[onnx.ModelProto], None], folder: Path) -> Bundle:
    """A copy of the bundle in which the decoder has the fault and its manifest agrees, as after a faulty exporter."""
    shutil.copytree(bundle, folder)
    path = folder / "decoder.onnx"
    model = onnx.load(path)
    fault(model)
    content = model.SerializeToString()
    path.write_bytes(content)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["files"]["decoder.onnx"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    return Bundle.open(folder)


def study(chosen: Architecture) -> tuple[str | None, list[str], float]:
    """Why the healthy model was refused, if it was; the faults that passed; and the largest error over its limit."""
    torch.manual_seed(chosen.seed)
    decoder, encoder, latent_shape = build(chosen)
    random = np.random.default_rng(chosen.seed)
    coarse = random.integers(0, 256, (_IMAGES, 8, 8, chosen.channels), np.uint8)
    images = coarse.repeat(-(-chosen.side // 8), 1).repeat(-(-chosen.side // 8), 2)[:, : chosen.side, : chosen.side]
    like_trained(decoder, torch.randn(_IMAGES, *latent_shape))
    like_trained(encoder, torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    source = Source.of_modules(
        decoder=decoder,
        encoder=encoder,
        latent_shape=latent_shape,
        image_shape=(chosen.channels, chosen.side, chosen.side),
        images=images,
    )
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        try:
            measurements = export_bundle(source, bundle, formats=["onnx"])
        except ExportError as error:
            return str(error), [], float("nan")
        spec, reference = graphs_of(source.model)[0], Reference(source.model)
        missed = []
        for fault in FAULTS:
            try:
                check_graph(spec, reference, damaged(bundle, fault, Path(folder) / fault.__name__), images)
                missed.append(fault.__name__)
            except ParityError:
                pass
    return None, missed, _closest(measurements)


def _closest(measurements: list[ParityMeasurement]) -> float:
    """The largest error of an exported graph, as a part of its limit."""
    return max(
        entry.max_error / entry.limit
        for entry in measurements
        if entry.measure == "relative error" and entry.engine != "PyTorch eager"
    )


@dataclass(frozen=True)
class Row:
    """What the study found of one model, as text."""

    model: str
    refused: str
    """Why the healthy model was refused; empty where it was not."""
    missed: str
    """Names of the faults that passed."""
    closest: str
    """Largest error of an exported graph, as a part of its limit."""


def rows_of(count: int, first: int, path: Path) -> list[Row]:
    """The rows of so many models: those in the file, and the others, which are added to it as they are made."""
    chosen = {str(architecture): architecture for architecture in architectures(count)}
    for name, architecture in (*list(chosen.items())[first:], *list(chosen.items())[:first]):
        if name not in {row.model for row in _read(path)}:
            refused, missed, closest = study(architecture)
            row = Row(name, refused or "", " ".join(missed), f"{closest:.2f}")
            print(*astuple(row), sep=" | ", flush=True)
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(astuple(row))
    return [row for row in _read(path) if row.model in chosen]


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list({fields[0]: Row(*fields) for fields in csv.reader(file)}.values())


def main() -> None:
    """Print a line for each model, and a table of the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="number of the model to begin with")
    parser.add_argument("--rows", type=Path, help="CSV file to go on with")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = rows_of(arguments.models, arguments.first, arguments.rows or Path(scratch) / "rows.csv")
    faults = Counter(name for row in rows for name in row.missed.split())
    tried = [row for row in rows if not row.refused]
    closest = [float(row.closest) for row in tried]
    print(f"\n{len(rows) - len(tried)} of {len(rows)} healthy models refused")
    print(f"{faults.total()} of {len(tried) * len(FAULTS)} faults missed {dict(faults) or ''}")
    print(f"largest error of a healthy graph / its limit: median {median(closest):.2f}, most {max(closest):.2f}")


if __name__ == "__main__":
    main()
