"""The gradient of a plain MLP on the CPU, derived by hand.

For the common case: fully connected layers, one draw of z, the evidence lower bound. The gradient equals autograd's to
rounding, without its bookkeeping, and both heads are one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.data.pixels import to_float
from trainer.model.vae import VAE
from trainer.settings import Settings
from trainer.training.steps.flat import span
from trainer.training.steps.gemm import linear, matmul, matmul_transposed
from trainer.training.steps.likelihoods import LIKELIHOODS
from trainer.training.steps.program import Program, without_python


class MlpGradient:
    """See `PartGradient`: forward and backward without autograd, and with the two heads as one layer."""

    def __init__(self, model: VAE, weights: Tensor, settings: Settings) -> None:
        """weights: the vector that the layers read, float32 or a copy in bf16; products have its dtype."""
        self.activation, self.likelihood = settings.activation, LIKELIHOODS[settings.likelihood]
        encoder = [[module] for module in model.encoder if isinstance(module, nn.Linear)]
        decoder = [[module] for module in model.decoder if isinstance(module, nn.Linear)]
        groups = [*encoder, [model.mean, model.log_var], *decoder]
        self.encoder_layers = len(encoder) + 1
        # (outputs, inputs) of each layer, then (outputs,) of each
        self.layers = [
            *(span(weights, [module.weight for module in group]) for group in groups),
            *(span(weights, [module.bias for module in group]) for group in groups),
        ]
        self.programs: dict[int, Program] = {}
        self.pieces: Sequence[Tensor] = []

    @staticmethod
    def supports(settings: Settings) -> bool:
        """Whether this gradient is that of what `settings` describe."""
        return (
            (settings.network, settings.batch_norm) == ("mlp", False)
            and (settings.bound, settings.draws) == ("elbo", 1)
            and settings.free_bits == 0
            and settings.likelihood in LIKELIHOODS
        )

    def __call__(self, pixels: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
        """See `PartGradient`."""
        weight = torch.full((), kl_weight, dtype=noise.dtype)
        if len(pixels) == 0:  # oneDNN has no empty products
            self.pieces = [torch.zeros_like(layer) for layer in self.layers]
            return weight.new_zeros(3)
        arguments = pixels, noise.flatten(1), weight, *self.layers
        if len(pixels) not in self.programs:
            self.programs[len(pixels)] = without_python(self._program, arguments)
        sums, *self.pieces = self.programs[len(pixels)](*arguments)
        return sums

    @torch.no_grad()
    def _program(self, pixels: Tensor, noise: Tensor, kl_weight: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        """The sums that `PartGradient` returns, then its pieces.

        pixels: uint8 (B, H, W, C); noise: (B, L); kl_weight: (); layers: see `__init__`.
        """
        weights, biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        encoder, decoder = slice(0, self.encoder_layers), slice(self.encoder_layers, None)
        dtype = noise.dtype
        image = to_float(pixels).flatten(1).to(dtype)  # (B, pixels)

        # ---- forward ----
        inputs, heads = self._forward(weights[encoder], biases[encoder], image)
        mean, log_var = heads.to(dtype).chunk(2, dim=1)  # (B, L) each
        std = torch.exp(0.5 * log_var)
        scaled_noise = std * noise
        latent_inputs, logits = self._forward(weights[decoder], biases[decoder], mean + scaled_noise)  # (B, pixels)

        # ---- loss: see `kl_per_dimension` for the second term ----
        reconstruction, grad_logits = self.likelihood(logits.to(dtype), image)
        variance = std.square()
        kl = 0.5 * (mean.square() + variance - 1 - log_var).sum()
        sums = torch.stack([reconstruction + kl_weight * kl, reconstruction, kl])

        # ---- backward ----
        grad_decoder, grad_z = self._backward(weights[decoder], latent_inputs, grad_logits, dtype, to_input=True)
        grad_z = grad_z.to(dtype)
        grad_mean = torch.addcmul(grad_z, mean, kl_weight)
        grad_log_var = 0.5 * torch.addcmul(grad_z * scaled_noise, variance - 1, kl_weight)
        grad_heads = torch.cat([grad_mean, grad_log_var], dim=1)
        grad_encoder, _ = self._backward(weights[encoder], inputs, grad_heads, dtype, to_input=False)

        grad_weights, grad_biases = zip(*grad_encoder, *grad_decoder, strict=True)
        return sums, *grad_weights, *grad_biases

    def _forward(self, weights: Sequence[Tensor], biases: Sequence[Tensor], x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The input of each layer, and the output of the last, which has no activation."""
        inputs = [x.to(weights[0].dtype)]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            inputs.append(linear(inputs[-1], weight, bias, activation=self.activation))
        return inputs, linear(inputs[-1], weights[-1], biases[-1])

    def _backward(
        self,
        weights: Sequence[Tensor],
        inputs: Sequence[Tensor],
        gradient: Tensor,
        dtype: torch.dtype,
        *,
        to_input: bool,
    ) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Gradients w.r.t. weight and bias of each layer, from the gradient w.r.t. the output of the last.

        Returns also the gradient w.r.t. the input of the first layer, or w.r.t. its output where nobody needs that.
        dtype: of sums over the batch.
        """
        found: list[tuple[Tensor, Tensor]] = []
        gradient = gradient.to(weights[0].dtype)
        for i in reversed(range(len(weights))):
            found.append((matmul_transposed(gradient, inputs[i]), gradient.sum(0, dtype=dtype)))
            if i > 0 or to_input:
                gradient = matmul(gradient, weights[i])
            if i > 0 and self.activation == "relu":
                gradient = torch.ops.aten.threshold_backward(gradient, inputs[i], 0)
            elif i > 0:
                gradient = torch.ops.aten.tanh_backward(gradient, inputs[i])
        return found[::-1], gradient
