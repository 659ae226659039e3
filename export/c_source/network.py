"""A network as the C source computes it: a list of steps on tensors stored as height, width, channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Storage = Literal["float32", "int8", "fp16"]
"""How the weights of a network lie in memory; `export.c_source.compact` makes the smaller ones."""


@dataclass(frozen=True)
class Linear:
    """target = source @ weight + bias."""

    source: str
    target: str
    weight: npt.NDArray[np.float64]
    """(inputs, outputs)."""
    bias: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Convolution:
    """A convolution, or a transposed one; height before width in every pair."""

    source: str
    target: str
    weight: npt.NDArray[np.float64]
    """(kernel height, kernel width, inputs, outputs)."""
    bias: npt.NDArray[np.float64]
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    """Above and to the left; below and to the right follow from the sizes."""
    dilation: tuple[int, int]
    transposed: bool


@dataclass(frozen=True)
class Activation:
    """A function of one number: relu, leaky_relu, elu, clip, tanh, sigmoid, silu or erf."""

    source: str
    target: str
    name: str
    numbers: tuple[float, ...] = ()
    """The slope of leaky_relu and elu; the bounds of clip."""


@dataclass(frozen=True)
class Scale:
    """target = source · scale + shift, one pair for each channel, the inner axis."""

    source: str
    target: str
    scale: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Normalization:
    """target = (source - mean) / sqrt(variance + epsilon), over the pixels and channels of each group."""

    source: str
    target: str
    groups: int
    width: int
    """Channels of a group."""
    epsilon: float


@dataclass(frozen=True)
class Combination:
    """target = source + other, or source · other."""

    source: str
    target: str
    name: Literal["add", "multiply"]
    other: str


@dataclass(frozen=True)
class Resize:
    """target[y, x] = source[y · input height // output height, x · input width // output width]."""

    source: str
    target: str
    channels: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]


@dataclass(frozen=True)
class Reorder:
    """target[i] = source[order[i]] within each image; all of its numbers or some."""

    source: str
    target: str
    order: npt.NDArray[np.int64]


Step = Linear | Convolution | Activation | Scale | Normalization | Combination | Resize | Reorder


@dataclass(frozen=True)
class Network:
    """Steps from one input to one or two outputs."""

    name: str
    """decoder or encoder."""
    input: str
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    sizes: dict[str, int]
    """Numbers of one image in each tensor."""
    storage: Storage = "float32"
    """Of the weights, which are exact in it."""


def sources(step: Step) -> tuple[str, ...]:
    """The tensors that a step reads."""
    return (step.source, step.other) if isinstance(step, Combination) else (step.source,)
