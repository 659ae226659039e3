"""The training step of a plain MLP on the CPU, its gradient derived by hand.

For the case that nearly everybody trains: fully connected layers with ReLU, Bernoulli pixels, one draw, the evidence
lower bound. Everything else takes `AutogradStep`, which gives the same numbers to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.data.pixels import to_float
from trainer.model.vae import VAE
from trainer.objective.likelihood import bernoulli_nll_value
from trainer.settings import Settings
from trainer.training.steps.flat import clip_norm_, span
from trainer.training.steps.gemm import linear, matmul, matmul_transposed


class MlpStep:
    """Forward, backward, clip, Adam, without autograd's bookkeeping and with the two heads as one layer."""

    def __init__(self, model: VAE, weights: nn.Parameter, optimizer: torch.optim.Optimizer, settings: Settings) -> None:
        assert weights.grad is not None
        self.weights, self.gradient, self.optimizer = weights.detach(), weights.grad, optimizer
        self.clip_norm = settings.clip_norm
        self.totals = torch.zeros(3, dtype=torch.float64, device=weights.device)
        # In bf16 the layers read a copy of the weights, renewed in each step; what Adam changes stays float32.
        self.rounded = self.weights.to(torch.bfloat16) if settings.precision == "bf16" else self.weights
        self.encoder = [self._layer(module) for module in model.encoder if isinstance(module, nn.Linear)]
        self.heads = self._layer(model.mean, model.log_var)
        self.decoder = [self._layer(module) for module in model.decoder if isinstance(module, nn.Linear)]

    @staticmethod
    def supports(settings: Settings, device: torch.device) -> bool:
        """Whether this step trains what `settings` describe."""
        return (
            device.type == "cpu"
            and (settings.network, settings.activation, settings.batch_norm) == ("mlp", "relu", False)
            and (settings.likelihood, settings.bound, settings.draws) == ("bernoulli", "elbo", 1)
            and settings.free_bits == 0
        )

    @torch.no_grad()
    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float) -> None:
        """See `Step`."""
        dtype = self.weights.dtype
        if self.rounded is not self.weights:
            self.rounded.copy_(self.weights)
        image = to_float(pixels).flatten(1).to(dtype)  # (B, pixels)
        noise = noise.flatten(1)  # (B, L)

        # ---- forward ----
        inputs = [image.to(self.rounded.dtype)]  # of each layer of the encoder, then of the heads
        for layer in self.encoder:
            inputs.append(linear(inputs[-1], layer.weight, layer.bias, relu=True))
        heads = linear(inputs[-1], self.heads.weight, self.heads.bias).to(dtype)
        mean, log_var = heads.chunk(2, dim=1)  # (B, L) each
        std = torch.exp(0.5 * log_var)
        z = torch.addcmul(mean, std, noise)
        latent_inputs = [z.to(self.rounded.dtype)]  # of each layer of the decoder
        for layer in self.decoder[:-1]:
            latent_inputs.append(linear(latent_inputs[-1], layer.weight, layer.bias, relu=True))
        output = self.decoder[-1]
        logits = linear(latent_inputs[-1], output.weight, output.bias).to(dtype)  # (B, pixels)

        # ---- loss: see `kl_per_dimension` for the second term ----
        reconstruction = bernoulli_nll_value(logits, image).sum()
        variance = std.square()
        kl = 0.5 * (mean.square() + variance - 1 - log_var).sum()
        self.totals += torch.stack([reconstruction + kl_weight * kl, reconstruction, kl])

        # ---- backward: the gradient by the logits is σ(logits) − image ----
        by_logits = logits.sigmoid_().sub_(image).to(self.rounded.dtype)
        by_z = _backward(self.decoder, latent_inputs, by_logits).to(dtype)
        by_mean = torch.add(by_z, mean, alpha=kl_weight)
        by_log_var = 0.5 * (by_z * noise * std + kl_weight * (variance - 1))
        by_heads = torch.cat([by_mean, by_log_var], dim=1).to(self.rounded.dtype)
        _backward([*self.encoder, self.heads], inputs, by_heads, to_input=False)

        # ---- clip and step ----
        if self.clip_norm is not None:
            clip_norm_(self.gradient, self.clip_norm)
        self.optimizer.step()

    def _layer(self, *modules: nn.Linear) -> _Layer:
        """One layer, or several that read one input as if they were one."""
        weights, biases = [module.weight for module in modules], [module.bias for module in modules]
        return _Layer(
            weight=span(self.rounded, weights),
            bias=span(self.rounded, biases),
            weight_gradient=span(self.gradient, weights),
            bias_gradient=span(self.gradient, biases),
        )


@dataclass(frozen=True)
class _Layer:
    """Views of the vector of weights and of its gradient: (outputs, inputs) and (outputs,)."""

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor


def _backward(layers: Sequence[_Layer], inputs: Sequence[Tensor], gradient: Tensor, *, to_input: bool = True) -> Tensor:
    """Write the gradients of layers that a ReLU parts from each other, from the gradient by the output of the last.

    Returns the gradient by the input of the first, or, where nobody needs it, that by its output.
    """
    for i in reversed(range(len(layers))):
        layer = layers[i]
        layer.weight_gradient.copy_(matmul_transposed(gradient, inputs[i]))
        torch.sum(gradient, 0, out=layer.bias_gradient)
        if i > 0 or to_input:
            gradient = matmul(gradient, layer.weight)
        if i > 0:
            gradient = torch.ops.aten.threshold_backward(gradient, inputs[i], 0)
    return gradient
