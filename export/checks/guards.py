"""Guards on meaning: what a comparison of numbers cannot see, because model and graph would be wrong together."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch
from torch import Tensor, nn

from export.errors import ModelError
from export.graphs import Decoder, Encoder, GraphSpec
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
_LARGEST_DIFFERENCE = 1e-5  # of two float32 evaluations of the same image


def check_model(model: VAE, images: Tensor, latents: Tensor) -> None:
    """What must hold of a model before any graph is made of it. Raises ModelError.

    images: float32 (N, C, H, W), different real ones. latents: float32 (N, L), different ones.
    """
    check_evaluation_mode(model)
    encoder, decoder = Encoder(model), Decoder(model)
    with torch.no_grad():
        mean, _ = encoder(images)
        decoded = decoder(latents)
        reconstruction, _, _ = model(images)
        through_mean = decoder(mean)
    for name, output, what in (("encoder", mean, "images"), ("decoder", decoded, "latents")):
        if len(output) > 1 and (output == output[:1]).all():
            raise ModelError(f"{name}: {len(output)} different {what} all give the same output; it ignores its input")
    difference = float((reconstruction - through_mean).abs().max())
    if not difference <= _LARGEST_DIFFERENCE:
        raise ModelError(
            "encoder: its mean is not the latent that the model uses in evaluation mode: the model's reconstructions "
            f"and those through the mean differ by {difference:.3g}"
        )


def check_evaluation_mode(module: nn.Module) -> None:
    """No part may be in training mode: batch norm would look at the batch, dropout would draw."""
    for name, part in module.named_modules():
        if part.training:
            raise ModelError(f"{name or 'the model'} ({type(part).__name__}) is in training mode; call eval() first")


def check_traced(spec: GraphSpec) -> None:
    """No call in the traced graph may draw random numbers. Raises ModelError."""
    check_evaluation_mode(spec.module)
    for node in spec.program.graph.nodes:
        name = getattr(getattr(node.target, "overloadpacket", None), "__name__", "")
        parts = name.strip("_").split("_")
        draws = any(part in _RANDOM_CALLS for part in parts)
        if draws and not (name == "dropout" and node.args[2] is False):
            raise ModelError(f"{spec.name}: its graph holds the random call {name}; its outputs would not repeat")


def check_onnx(spec: GraphSpec, model: onnx.ModelProto) -> None:
    """No node may draw or be in training mode, and every batch must be free. Raises ModelError."""
    for node in _all_nodes(model.graph.node, model):
        training = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
        if node.op_type in _RANDOM_NODES or training:
            raise ModelError(f"{spec.name}: its ONNX graph holds the node {node.op_type}, which trains or draws")
    for port, found in zip(spec.inputs, model.graph.input, strict=False):
        for axis, size in enumerate(port.shape):
            if size == "N" and not found.type.tensor_type.shape.dim[axis].dim_param:
                raise ModelError(f"{spec.name}: the batch dimension of its input {port.name!r} is fixed")


def _all_nodes(nodes: Sequence[onnx.NodeProto], model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [*nodes, *(node for function in model.functions for node in function.node)]
