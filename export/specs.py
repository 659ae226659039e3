"""What is exported: each graph with the names, types and shapes of its inputs and outputs."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from export.graphs import Reconstructor, Sampler, decoder_of, encoder_of, has_encoder
from export.halves import ForeignVAE
from export.mixture import LabelledMixtureSampler, MixtureSampler
from runtime.manifest import Port
from runtime.prior import ANY_CLASS, Prior
from trainer.model.vae import VAE

EXAMPLE_BATCH = 2  # torch.export would specialise a batch of 1 and fix it in the graph
_SOURCE_NOTES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
_LARGEST_INT64 = 2**63 - 1


@dataclass(frozen=True)
class GraphSpec:
    """A graph to export: its module, and the names, types and shapes of its inputs and outputs."""

    name: str
    module: nn.Module
    """In evaluation mode, on the CPU."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    methods: tuple[str, ...] = ()
    """Methods that a TorchScript file keeps besides `forward`."""
    largest_batch: int | None = None
    """The largest batch that the module can be traced for; None where any will do."""

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Zeros of the right shapes to trace with, at batch size 2."""
        return tuple(
            torch.zeros(
                [EXAMPLE_BATCH if size == "N" else int(size) for size in port.shape], dtype=getattr(torch, port.dtype)
            )
            for port in self.inputs
        )

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The module as traced by torch.export, without source paths; traced once, for ONNX and `.pt2`."""
        program = torch.export.export(self.module, self.example_inputs(), dynamic_shapes=self.dynamic_shapes())
        for node in program.graph.nodes:
            for note in _SOURCE_NOTES:
                node.meta.pop(note, None)
        return program

    def dynamic_shapes(self) -> tuple[dict[int, torch.export.Dim], ...]:
        """The `dynamic_shapes` argument of torch.export: axis → batch dimension, for each input."""
        batch = torch.export.Dim("N", min=1, max=self.largest_batch)
        return tuple({axis: batch for axis, size in enumerate(port.shape) if size == "N"} for port in self.inputs)


def graphs_of(model: VAE | ForeignVAE, prior: Prior | None = None) -> tuple[GraphSpec, ...]:
    """Decoder, encoder, sampler and reconstructor of `model`, which is in evaluation mode and on the CPU.

    Without an encoder there are decoder and sampler alone. The graphs share the weights of `model`. prior: what the
    sampler draws from; None for N(0, I).
    """
    channels, height, width = model.config.image_shape
    z, mean, log_var = (
        Port(name, "float32", ("N", model.config.latent_dim), None) for name in ("z", "mean", "log_var")
    )
    image = Port("image", "float32", ("N", channels, height, width), (0, 1))
    pixels = Port("image", "uint8", ("N", height, width, channels), (0, 255))
    # Not "image" again: in an ONNX graph, an input and an output cannot have the same name.
    reconstruction = Port("reconstruction", "uint8", ("N", height, width, channels), (0, 255))
    seed = Port("seed", "int64", (), (0, _LARGEST_INT64))
    index = Port("index", "int64", ("N",), (0, _LARGEST_INT64))
    temperature = Port("temperature", "float32", (), None)
    most = model.largest_batch if isinstance(model, ForeignVAE) else None
    decoder_spec = GraphSpec("decoder", decoder_of(model).eval(), (z,), (image,), largest_batch=most)
    sampler_spec = replace(_sampler(model, prior, (seed, index, temperature), pixels), largest_batch=most)
    if not has_encoder(model):
        return decoder_spec, sampler_spec
    return (
        decoder_spec,
        GraphSpec("encoder", encoder_of(model).eval(), (image,), (mean, log_var), largest_batch=most),
        sampler_spec,
        GraphSpec("reconstructor", Reconstructor(model).eval(), (pixels,), (reconstruction,), largest_batch=most),
    )


def _sampler(model: VAE | ForeignVAE, prior: Prior | None, inputs: tuple[Port, ...], pixels: Port) -> GraphSpec:
    """The sampler's graph. With classes, it has an input more."""
    if prior is None:
        return GraphSpec("sampler", Sampler(model).eval(), inputs, (pixels,), methods=("latents",))
    module: MixtureSampler = MixtureSampler(model, prior)
    if prior.classes:
        module = LabelledMixtureSampler(model, prior)
        inputs = (*inputs, Port("label", "int64", ("N",), (ANY_CLASS, len(prior.classes) - 1)))
    return GraphSpec("sampler", module.eval(), inputs, (pixels,), methods=("latents", "component"))
