"""The exported graphs: small deterministic modules, each with a description of its inputs and outputs."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from export.halves import ForeignDecoder, ForeignEncoder, ForeignVAE
from export.noise import Noise
from runtime.manifest import Port
from runtime.prior import ANY_CLASS, Prior
from trainer.model.vae import VAE

EXAMPLE_BATCH = 2  # torch.export would specialise a batch of 1 and fix it in the graph
_SOURCE_NOTES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
_LARGEST_INT64 = 2**63 - 1


class Decoder(nn.Module):
    """z float32 (N, L) → image float32 (N, C, H, W) in [0, 1]."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(z))


class Encoder(nn.Module):
    """image float32 (N, C, H, W) in [0, 1] → mean, log_var float32 (N, L) of the posterior q(z|x)."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.mean = model.mean
        self.log_var = model.log_var

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(image)
        return self.mean(hidden), self.log_var(hidden)


class Sampler(nn.Module):
    """seed int64 (), index int64 (N,), temperature float32 () → image uint8 (N, H, W, C): noise and decoder."""

    def __init__(self, model: VAE | ForeignVAE) -> None:
        super().__init__()
        self.noise = Noise(model.config.latent_dim)
        self.decoder = decoder_of(model)

    def forward(self, seed: Tensor, index: Tensor, temperature: Tensor) -> Tensor:
        return to_pixels(self.decoder(self.latents(seed, index) * temperature))

    def latents(self, seed: Tensor, index: Tensor) -> Tensor:
        """The latents at temperature 1, float32 (N, L). TorchScript files keep this method for the parity check."""
        latents: Tensor = self.noise(seed, index)
        return latents


class Reconstructor(nn.Module):
    """image uint8 (N, H, W, C) → reconstruction uint8 (N, H, W, C), through the posterior mean."""

    def __init__(self, model: VAE | ForeignVAE) -> None:
        super().__init__()
        self.encoder = encoder_of(model)
        self.decoder = decoder_of(model)

    def forward(self, image: Tensor) -> Tensor:
        mean, _ = self.encoder(image.permute(0, 3, 1, 2).to(torch.float32) / 255.0)
        return to_pixels(self.decoder(mean))


def decoder_of(model: VAE | ForeignVAE) -> nn.Module:
    """The module behind the ports of the decoder."""
    return Decoder(model) if isinstance(model, VAE) else ForeignDecoder(model.decoder, model.config)


def encoder_of(model: VAE | ForeignVAE) -> nn.Module:
    """The module behind the ports of the encoder, which `model` must have."""
    if isinstance(model, VAE):
        return Encoder(model)
    assert model.encoder is not None
    return ForeignEncoder(model.encoder, model.config)


def has_encoder(model: VAE | ForeignVAE) -> bool:
    """Whether there is an encoder; a generator alone has none."""
    return isinstance(model, VAE) or model.encoder is not None


def to_pixels(image: Tensor) -> Tensor:
    """float (N, C, H, W) in [0, 1] → uint8 (N, H, W, C): 255 · x rounded half to even, clipped to 0 … 255."""
    return torch.round(image * 255.0).clamp(0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1)


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
    from export.mixture import LabelledMixtureSampler, MixtureSampler

    module: MixtureSampler = MixtureSampler(model, prior)
    if prior.classes:
        module = LabelledMixtureSampler(model, prior)
        inputs = (*inputs, Port("label", "int64", ("N",), (ANY_CLASS, len(prior.classes) - 1)))
    return GraphSpec("sampler", module.eval(), inputs, (pixels,), methods=("latents", "component"))
