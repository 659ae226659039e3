"""The C source as an engine of the parity check: compiled where this machine has a compiler, else its NumPy model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export.c_source.emit import Sources
from export.c_source.network import Network
from export.c_source.self_test import floats_of, pixels_of
from export.c_source.simulate import simulate
from export.checks.engines import Arrays, Engine
from export.checks.variants import Runnable
from export.errors import ExportError
from export.specs import GraphSpec
from runtime.c_library import Library, find_compiler
from runtime.errors import EngineError
from runtime.manifest import C_HEADER_NAME, C_SOURCE_NAME
from runtime.prior import ANY_CLASS, Prior, prior_latents

NO_COMPILER = "the NumPy model of its arithmetic, since this machine has no C compiler (cc)"


@dataclass(frozen=True)
class Generator:
    """`generator.c`, or a variant of it with smaller weights, ready to run."""

    networks: tuple[Network, Network | None]
    prior: Prior | None
    """None: N(0, I)."""
    library: Library | None
    """None where there is no compiler."""
    constant_bytes: int
    """Of the weights and tables in the compiled file."""

    @classmethod
    def of_sources(
        cls,
        sources: Sources,
        networks: tuple[Network, Network | None],
        prior: Prior | None,
        name: str = C_SOURCE_NAME,
    ) -> Generator:
        """Compile both files, if a compiler is there. name: of the source in the bundle. Raises ExportError where
        compiler or self-test fail.
        """
        compiler = find_compiler()
        files = {C_HEADER_NAME: sources.header.encode(), name: sources.source.encode()}
        try:
            library = Library(files, compiler, source=name) if compiler else None
            return cls(networks, prior, library, sources.constant_bytes)
        except EngineError as error:
            raise ExportError(f"{error}; nothing was published") from error

    @property
    def checked_by(self) -> str:
        """The compiler's name and version, or what stands in for one."""
        return self.library.compiler if self.library else NO_COMPILER

    def engine(self, spec: GraphSpec) -> Engine:
        """The engine for one of the four graphs: the compiled source, or its NumPy model without a compiler."""
        if self.library is None:
            return Engine("C source, in NumPy", _simulated(spec, *self.networks, self.prior))
        decoder = self.networks[0]
        latents = _latents(self.library, decoder.sizes[decoder.input]) if spec.name == "sampler" else None
        return Engine("C source", _compiled(self.library, spec), latents)

    def runnable(self, specs: Sequence[GraphSpec]) -> Runnable:
        """For the comparison of a variant with float32."""
        engines = {spec.name: self.engine(spec) for spec in specs}
        latents = engines["sampler"].latents
        return Runnable(
            bytes=self.constant_bytes,
            decoder=lambda z: list(engines["decoder"].run([z])),
            encoder=(lambda image: list(engines["encoder"].run([image]))) if "encoder" in engines else None,
            latents=None if latents is None else lambda *inputs: latents(list(inputs)),
        )


def _latents(library: Library, latent_dim: int) -> Callable[[Arrays], npt.NDArray[Any]]:
    def latents(inputs: Arrays) -> npt.NDArray[Any]:
        seed, index, *labels = inputs
        z = np.empty((len(index), latent_dim), np.float32)
        for label, chosen in _by_label(index, labels):
            z[chosen] = library.latents(int(seed), index[chosen], latent_dim, label)
        return z

    return latents


def _by_label(index: npt.NDArray[Any], labels: Sequence[npt.NDArray[Any]]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Each label with the places of its samples: a call in C is of one label. labels: (N,), or none for any class."""
    label = labels[0] if labels else np.full(len(index), ANY_CLASS)
    for one in np.unique(label):
        yield int(one), np.flatnonzero(label == one)


def _compiled(library: Library, spec: GraphSpec) -> Callable[[Arrays], Arrays]:
    sizes = [int(size) for size in spec.outputs[0].shape[1:]]

    def sampler(inputs: Arrays) -> Arrays:
        seed, index, temperature, *labels = inputs
        pixels = np.empty((len(index), *sizes), np.uint8)
        for label, chosen in _by_label(index, labels):
            pixels[chosen] = library.sample(int(seed), index[chosen], sizes, label, float(temperature))
        return [pixels]

    return {
        "decoder": lambda inputs: [library.decode(inputs[0], sizes)],
        "encoder": lambda inputs: library.encode(inputs[0], sizes[0]),
        "sampler": sampler,
        "reconstructor": lambda inputs: [library.reconstruct(inputs[0])],
    }[spec.name]


def _simulated(
    spec: GraphSpec, decoder: Network, encoder: Network | None, prior: Prior | None
) -> Callable[[Arrays], Arrays]:
    """The same functions by `export.c_source.simulate`; it stores images as height, width, channels."""
    latent_dim = decoder.sizes[decoder.input]

    def decode(inputs: Arrays) -> Arrays:
        (image,) = simulate(decoder, inputs[0])
        channels, height, width = (int(size) for size in spec.outputs[0].shape[1:])
        return [np.ascontiguousarray(image.reshape(-1, height, width, channels).transpose(0, 3, 1, 2))]

    def encode(inputs: Arrays) -> Arrays:
        assert encoder is not None  # there is no graph of an encoder otherwise
        return simulate(encoder, inputs[0].transpose(0, 2, 3, 1).reshape(len(inputs[0]), -1))

    def sampler(inputs: Arrays) -> Arrays:
        seed, index, temperature, *labels = inputs
        label = labels[0] if labels else ANY_CLASS
        z = prior_latents(prior, int(seed), index, latent_dim, label, float(temperature))
        return [_pixels(simulate(decoder, z)[0], spec)]

    def reconstruct(inputs: Arrays) -> Arrays:
        assert encoder is not None
        mean = simulate(encoder, floats_of(inputs[0].reshape(len(inputs[0]), -1)))[0]
        return [_pixels(simulate(decoder, mean)[0], spec)]

    return {"decoder": decode, "encoder": encode, "sampler": sampler, "reconstructor": reconstruct}[spec.name]


def _pixels(image: npt.NDArray[np.float32], spec: GraphSpec) -> npt.NDArray[np.uint8]:
    return pixels_of(image).reshape(-1, *(int(size) for size in spec.outputs[0].shape[1:]))
