"""The training step by autograd, for every model and objective: whole, or the gradient of a part of a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from trainer.data.pixels import to_float
from trainer.model.vae import VAE
from trainer.objective.bound import BoundTerms, Objective
from trainer.settings import Settings
from trainer.training.steps.flat import clip_norm_, view_as_parameters
from trainer.training.steps.step import part
from trainer.training.team import ALONE, Team


class AutogradStep:
    """Loss, backward, clip, Adam; in a team, on a part of each batch and with the gradient of the whole."""

    at_once = 1
    library: str | None = None

    def __init__(
        self,
        model: VAE,
        weights: nn.Parameter,
        optimizer: torch.optim.Optimizer,
        settings: Settings,
        team: Team = ALONE,
    ) -> None:
        assert weights.grad is not None
        self.model, self.weights, self.gradient, self.optimizer = model, weights, weights.grad, optimizer
        self.terms = team.connect(_BoundModule(model, Objective.of(settings), team.total))
        self.grad_loss = torch.full_like(
            weights[0], team.world_size
        )  # the loss is a sum, and a team averages gradients
        self.clip_norm = settings.clip_norm
        self.use_bf16 = settings.precision == "bf16"
        self.totals = torch.zeros(3, dtype=torch.float64, device=weights.device)

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weights: Sequence[float | Tensor]) -> None:
        """See `Step`."""
        (kl_weight,) = kl_weights
        self.optimizer.zero_grad(set_to_none=False)
        terms = _terms(self.terms, pixels, noise, kl_weight, use_bf16=self.use_bf16)
        terms.loss.backward(self.grad_loss)
        if self.clip_norm is not None:
            clip_norm_(self.gradient, self.clip_norm)
        self.optimizer.step()
        self.totals += _sums(terms)


class AutogradGradient:
    """See `Gradient`: by autograd. Each part of the batch has a gradient of its own, and shares add them up."""

    def __init__(self, model: VAE, weights: Tensor, settings: Settings, parts: int) -> None:
        """weights: the vector that the parameters of `model` are views of."""
        twins = [_twin(model, weights) for _ in range(parts)]
        self.terms = [_BoundModule(each, Objective.of(settings), ALONE.total) for each, _ in twins]
        self.gradients = [gradient for _, gradient in twins]
        self.shares = [[part(i, parts, len(weights))] for i in range(parts)]
        self.use_bf16 = settings.precision == "bf16"

    @staticmethod
    def supports(settings: Settings) -> bool:
        """Whether the loss is a sum over images: batch normalisation and free bits look at the whole batch."""
        return not settings.batch_norm and settings.free_bits == 0

    @torch.enable_grad()
    def of_images(self, i: int, pixels: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
        """See `Gradient`."""
        rows = part(i, len(self.shares), len(pixels))
        self.gradients[i].zero_()
        terms = _terms(self.terms[i], pixels[rows], noise[rows], kl_weight, use_bf16=self.use_bf16)
        terms.loss.backward()
        return _sums(terms)

    def of_weights(self, i: int) -> tuple[Sequence[Tensor], Tensor]:
        """See `Gradient`."""
        total, *others = (gradient[self.shares[i][0]] for gradient in self.gradients)
        for other in others:
            total += other
        return [total], total


def _twin(model: VAE, weights: Tensor) -> tuple[VAE, Tensor]:
    """A model that shares the weights of `model`, which are views of `weights`, and has a gradient of its own.

    Its convolutions work on images with the channels last, which oneDNN converts less often.
    """
    other, gradient = copy.deepcopy(model), torch.zeros_like(weights)
    view_as_parameters(other, weights, gradient)
    for module in other.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.in_channels > 1:
            module.register_forward_pre_hook(_channels_last)
    return other, gradient


def _channels_last(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.contiguous(memory_format=torch.channels_last) for each in inputs)


def _terms(terms: nn.Module, pixels: Tensor, noise: Tensor, kl_weight: float | Tensor, *, use_bf16: bool) -> BoundTerms:
    image = to_float(pixels).to(noise.dtype)  # (B, C, H, W)
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=use_bf16, cache_enabled=False):
        found: BoundTerms = terms(image, noise, kl_weight)
    return found


def _sums(terms: BoundTerms) -> Tensor:
    return torch.stack([terms.loss.detach(), terms.reconstruction.detach().sum(), terms.kl.detach().sum()])


class _BoundModule(nn.Module):
    """The terms of the objective as a module: what DistributedDataParallel can wrap."""

    def __init__(self, model: VAE, objective: Objective, total: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.objective, self.total = model, objective, total

    def forward(self, image: Tensor, noise: Tensor, kl_weight: float | Tensor) -> BoundTerms:
        return self.objective.terms(self.model, image, noise, kl_weight, self.total)
