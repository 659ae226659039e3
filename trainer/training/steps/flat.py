"""All weights of a model in one tensor, and all gradients in another, so that one kernel can serve them all."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def flatten_parameters(module: nn.Module) -> nn.Parameter:
    """Move the weights of `module` into one vector, and return that vector.

    The module's parameters become views of it, their gradients views of its `.grad`, which is zero at first. An
    optimiser of the vector therefore updates the module, in one kernel instead of one for each weight; norms and
    clipping take one kernel too. Gradients must be zeroed in place, never set to None.

    Weights come first and biases last, both in the order of `module.parameters()`: two layers that read the same input
    and follow each other, such as the heads of a VAE, then are one matrix in memory.
    """
    flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in _in_order(module)]))
    flat.grad = torch.zeros_like(flat)
    view_as_parameters(module, flat.detach(), flat.grad)
    return flat


def view_as_parameters(module: nn.Module, weights: Tensor, gradient: Tensor) -> None:
    """Make the parameters of `module` views of `weights`, and their gradients views of `gradient`.

    Both are vectors in the order of `flatten_parameters`, of this module or of one like it.
    """
    parameters = _in_order(module)
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, own_weights, own_gradient in zip(
        parameters, weights.split(sizes), gradient.split(sizes), strict=True
    ):
        parameter.data = own_weights.view_as(parameter)
        parameter.grad = own_gradient.view_as(parameter)


def _in_order(module: nn.Module) -> list[nn.Parameter]:
    return sorted(module.parameters(), key=lambda parameter: parameter.ndim == 1)  # a stable sort


def clip_norm_(gradient: Tensor, largest: float) -> None:
    """Scale `gradient` in place so that its Euclidean norm is at most `largest`; without a branch, so never a wait."""
    norm = torch.dot(gradient, gradient).sqrt_()  # on the CPU in half the time of `torch.linalg.vector_norm`
    gradient.mul_(largest / norm.clamp_min_(largest))


def span(vector: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The part of `vector` where `flatten_parameters` has put `parameters`, stacked along the first axis.

    vector: of the length of the flat weights: they themselves, their gradient, or a copy. The parameters must follow
    each other in it and agree in all axes but the first.
    """
    start, size = parameters[0].storage_offset(), sum(parameter.numel() for parameter in parameters)
    assert parameters[-1].storage_offset() + parameters[-1].numel() == start + size, "not next to each other"
    return vector[start : start + size].view(-1, *parameters[0].shape[1:])
