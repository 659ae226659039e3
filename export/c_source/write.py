"""Decoder and encoder in ONNX → `generator.h` and `generator.c`."""

from __future__ import annotations

from export.c_source.emit import Sources, emit
from export.c_source.fold import fold
from export.c_source.network import Network
from export.c_source.read_onnx import read_network
from export.c_source.self_test import expected_values
from runtime.manifest import Metadata
from runtime.prior import Prior

READ_FOR_C = ("decoder", "encoder")
"""The graphs that the C source is made of."""


def read_networks(decoder: bytes, encoder: bytes | None) -> tuple[Network, Network | None]:
    """Both networks as the C source computes them. Raises ExportError, naming an operator that it does not have."""
    return fold(read_network("decoder", decoder)), None if encoder is None else fold(read_network("encoder", encoder))


def write_c(networks: tuple[Network, Network | None], metadata: Metadata, prior: Prior | None = None) -> Sources:
    """The text of both files. prior: None is N(0, I)."""
    decoder, encoder = networks
    return emit(decoder, encoder, metadata, expected_values(decoder, encoder, metadata.image_shape, prior), prior)
