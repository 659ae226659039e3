"""Checks of a model and its graphs for faults that both share, so that comparing them would show nothing."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn

from export.errors import ModelError
from export.graphs import decoder_of, encoder_of, has_encoder
from export.halves import ForeignVAE
from export.specs import GraphSpec
from trainer.model.vae import VAE

_RANDOM_CALLS = ("rand", "randn", "normal", "bernoulli", "multinomial", "dropout", "poisson", "exponential")
_RANDOM_NODES = (
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
    "Dropout",
)
_LARGEST_DIFFERENCE = 1e-5  # between two float32 evaluations of the same image


def check_model(model: VAE | ForeignVAE, images: Tensor, latents: Tensor) -> None:
    """Check a model before any graph is exported. Raises ModelError.

    The model must be in evaluation mode, its halves must depend on their inputs, and the reconstructions of a model of
    this project must go through the posterior mean. What else holds for modules of others is checked where they come
    in (`export.source.modules`). images: float32 (N, C, H, W) in [0, 1], test images. latents: float32 (N, L). Rows
    must differ.
    """
    check_evaluation_mode(model)
    decoder = decoder_of(model)
    with torch.no_grad():
        outputs = [("decoder", decoder(latents), "latents")]
        if has_encoder(model):
            mean, _ = encoder_of(model)(images)
            outputs.append(("encoder", mean, "images"))
    for name, output, what in reversed(outputs):
        if len(output) > 1 and (output == output[:1]).all():
            raise ModelError(f"{name}: {len(output)} different {what} all give the same output; it ignores its input")
    if isinstance(model, VAE):
        with torch.no_grad():
            difference = float((model(images)[0] - decoder(mean)).abs().max())
        if not difference <= _LARGEST_DIFFERENCE:
            raise ModelError(
                "encoder: its mean is not the latent that the model uses in evaluation mode: the model's "
                f"reconstructions and those from the mean differ by {difference:.3g}"
            )


def check_evaluation_mode(module: nn.Module) -> None:
    """Check that no submodule is in training mode, where batch norm depends on the batch and dropout is random."""
    for name, part in module.named_modules():
        if part.training:
            raise ModelError(f"{name or 'the model'} ({type(part).__name__}) is in training mode; call eval() first")


def check_traced(spec: GraphSpec) -> None:
    """Check that the traced graph calls no random operator. Raises ModelError."""
    check_evaluation_mode(spec.module)
    for node in spec.program.graph.nodes:
        name = getattr(getattr(node.target, "overloadpacket", None), "__name__", "")
        parts = name.strip("_").split("_")
        draws = any(part in _RANDOM_CALLS for part in parts)
        if draws and not (name == "dropout" and node.args[2] is False):  # dropout(input, p, train=False) does nothing
            raise ModelError(f"{spec.name}: its graph holds the random call {name}; its outputs would vary")


def check_onnx(spec: GraphSpec, model: onnx.ModelProto) -> None:
    """Check that no node is random or in training mode, and that batch dimensions are dynamic. Raises ModelError."""
    for node in _all_nodes(model):
        training = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
        if node.op_type in _RANDOM_NODES or training:
            raise ModelError(f"{spec.name}: its ONNX node {node.op_type} is random or in training mode")
    for port, found in zip(spec.inputs, model.graph.input, strict=False):
        for axis, size in enumerate(port.shape):
            if size == "N" and not found.type.tensor_type.shape.dim[axis].dim_param:
                raise ModelError(f"{spec.name}: the batch dimension of its input {port.name!r} is fixed")


def _all_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes of the graph and of the functions that it calls."""
    return [*model.graph.node, *(node for function in model.functions for node in function.node)]
