"""The gradient of a plain MLP on the CPU, derived by hand.

For fully connected layers, every bound and any number of draws. The gradient equals autograd's to rounding, without its
bookkeeping, and both heads are one matrix product.

Rows of the batch are independent until the gradient w.r.t. a weight is summed over them, and rows of that gradient are
independent of each other. So threads share the images as far as the gradient w.r.t. each layer's output, and then the
outputs: each row of a weight's gradient is one sum over the whole batch, written once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.data.pixels import to_float
from trainer.model.vae import VAE
from trainer.settings import Settings
from trainer.training.steps.bounds import BOUNDS, Draws
from trainer.training.steps.flat import span
from trainer.training.steps.gemm import Products
from trainer.training.steps.likelihoods import LIKELIHOODS
from trainer.training.steps.program import Program, without_python
from trainer.training.steps.step import part


class MlpGradient:
    """See `Gradient`: forward and backward without autograd, and with the two heads as one layer."""

    def __init__(self, model: VAE, weights: Tensor, settings: Settings, parts: int, products: Products) -> None:
        """weights: the vector that the layers read, float32 or a copy in bf16; products have its dtype."""
        self.products = products
        self.activation, self.likelihood = settings.activation, LIKELIHOODS[settings.likelihood]
        self.bound, self.draws = BOUNDS[settings.bound], settings.draws
        self.parts, self.sum_dtype = parts, model.mean.weight.dtype
        encoder = [[module] for module in model.encoder if isinstance(module, nn.Linear)]
        decoder = [[module] for module in model.decoder if isinstance(module, nn.Linear)]
        self.encoder_layers = len(encoder) + 1
        self.layers = [
            (span(weights, [module.weight for module in group]), span(weights, [module.bias for module in group]))
            for group in [*encoder, [model.mean, model.log_var], *decoder]
        ]
        self.outputs = [[part(i, parts, len(bias)) for _, bias in self.layers] for i in range(parts)]
        self.shares = [
            [_range(tensor, rows) for layer, rows in zip(self.layers, outputs, strict=True) for tensor in layer]
            for outputs in self.outputs
        ]
        sizes = [[each.stop - each.start for each in share] for share in self.shares]
        self.flat_gradients = [weights.new_empty(sum(each), dtype=self.sum_dtype) for each in sizes]
        """Of each share."""
        self.gradients = [list(flat.split(each)) for flat, each in zip(self.flat_gradients, sizes, strict=True)]
        """Of each share: views for each of its ranges."""
        self.batches: dict[int, Batch] = {}
        self._one_at_a_time = threading.Lock()

    @staticmethod
    def supports(settings: Settings) -> bool:
        """Whether this gradient is that of what `settings` describe."""
        return (
            (settings.network, settings.batch_norm) == ("mlp", False)
            and settings.free_bits == 0
            and settings.likelihood in LIKELIHOODS
            and settings.activation != "silu"  # whose derivative does not follow from its value
        )

    def of_images(self, i: int, pixels: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
        """See `Gradient`."""
        with self._one_at_a_time:
            self.batch = self.of_batch(len(pixels))
        rows = part(i, self.parts, len(pixels))
        weight = torch.full((), kl_weight, dtype=noise.dtype)
        if rows.start == rows.stop:  # oneDNN has no empty products
            return weight.new_zeros(3)
        (sums,) = self.batch.images[i](pixels[rows], noise[rows], weight)
        return sums

    def of_weights(self, i: int) -> tuple[Sequence[Tensor], Tensor]:
        """See `Gradient`."""
        (flat,) = self.batch.weights[i]()
        return self.gradients[i], flat

    def of_batch(self, images: int) -> Batch:
        """The programs for batches of so many images."""
        if images not in self.batches:
            self.batches[images] = self._batch(images)
        return self.batches[images]

    def _batch(self, images: int) -> Batch:
        """Programs for batches of so many images, and the memory between their two phases."""

        def memory(layer: int, width: int, dtype: torch.dtype) -> Tensor:
            return torch.empty(images * self._draws_in(layer), width, dtype=dtype)

        dtype, last_layers = self.layers[0][0].dtype, (self.encoder_layers - 1, len(self.layers) - 1)
        inputs = [memory(k, weight.shape[1], dtype) for k, (weight, _) in enumerate(self.layers)]
        grads = [memory(k, len(weight), dtype) for k, (weight, _) in enumerate(self.layers)]
        outputs = [
            memory(k, len(weight), self.sum_dtype) if k in last_layers else inputs[k + 1]
            for k, (weight, _) in enumerate(self.layers)
        ]
        batch = Batch()
        for i in range(self.parts):
            rows = part(i, self.parts, images)
            by_images = []
            for k, (layer, *kept) in enumerate(zip(self.layers, inputs, outputs, grads, strict=True)):
                draws = self._draws_in(k)
                by_images += [*layer, *(each[rows.start * draws : rows.stop * draws] for each in kept)]
            by_weights = [
                tensor
                for each, x, grad, by_weight, by_bias in zip(
                    self.outputs[i], inputs, grads, self.gradients[i][::2], self.gradients[i][1::2], strict=True
                )
                for tensor in (x, grad[:, each].t(), by_weight.view(-1, x.shape[1]), by_bias)
            ]
            batch.images.append(FixedProgram(self._of_images, by_images))
            batch.weights.append(FixedProgram(self._of_weights, [*by_weights, self.flat_gradients[i]]))
        return batch

    def _draws_in(self, layer: int) -> int:
        """Rows of a layer for each image: the decoder sees one for each draw."""
        return 1 if layer < self.encoder_layers else self.draws

    @torch.no_grad()
    def _of_images(self, pixels: Tensor, noise: Tensor, kl_weight: Tensor, tensors: list[Tensor]) -> list[Tensor]:
        """Phase 1 on B images, which leaves in each layer its input and the gradient w.r.t. its output.

        pixels: uint8 (B, H, W, C); noise: (B, L); kl_weight: (); tensors: those of each `_Layer`. Returns the sums.
        """
        layers = [_Layer(*tensors[start : start + 5]) for start in range(0, len(tensors), 5)]
        encoder, decoder = layers[: self.encoder_layers], layers[self.encoder_layers :]
        dtype = noise.dtype
        image = _cast(to_float(pixels).flatten(1), dtype)  # (B, pixels)

        # ---- forward ----
        mean, log_var = self._forward(encoder, image).chunk(2, dim=1)  # (B, L) each
        std = torch.exp(0.5 * log_var)
        scaled_noise = std.unsqueeze(1) * noise
        z = mean.unsqueeze(1) + scaled_noise  # (B, draws, L)
        logits = self._forward(decoder, z.flatten(0, 1)).unflatten(0, noise.shape[:2])  # (B, draws, pixels)

        # ---- loss ----
        nll, grad_logits = self.likelihood(logits, image)
        kl = 0.5 * (mean.square() + std.square() - 1 - log_var).sum()
        draws = Draws(mean, log_var, std, noise, scaled_noise, z, kl)
        loss, share = self.bound.loss(draws, nll, kl_weight)
        if share is not None:
            grad_logits.mul_(share.unsqueeze(2))
        sums = torch.stack([loss, nll.sum() / self.draws, kl])

        # ---- backward ----
        through_decoder = self._backward(decoder, grad_logits.flatten(0, 1))
        grad_z = _cast(self.products.matmul(through_decoder, decoder[0].weight), dtype).view_as(z)
        self._backward(encoder, torch.cat(self.bound.of_heads(draws, share, grad_z, kl_weight), dim=1))
        return [sums]

    def _forward(self, layers: Sequence[_Layer], x: Tensor) -> Tensor:
        """The output of the last layer, which has no activation."""
        layers[0].input.copy_(x)
        for layer in layers:
            activation = self.activation if layer is not layers[-1] else "none"
            self.products.linear(layer.input, layer.weight, layer.bias, activation=activation, out=layer.output)
        return layers[-1].output

    def _backward(self, layers: Sequence[_Layer], gradient: Tensor) -> Tensor:
        """The gradient w.r.t. the output of the first layer, from that w.r.t. the output of the last."""
        layers[-1].grad.copy_(gradient)
        for before, layer in zip(layers[-2::-1], layers[:0:-1], strict=True):
            grad = self.products.matmul(layer.grad, layer.weight, out=before.grad)
            if self.activation == "relu":
                torch.ops.aten.threshold_backward.grad_input(grad, layer.input, 0, grad_input=grad)
            else:
                torch.ops.aten.tanh_backward.grad_input(grad, layer.input, grad_input=grad)
        return layers[0].grad

    @torch.no_grad()
    def _of_weights(self, tensors: list[Tensor]) -> list[Tensor]:
        """Phase 2 on some outputs of each layer.

        tensors: for each layer its inputs (B, inputs), the gradients w.r.t. these outputs, (outputs, B), a transposed
        view, and where the gradients w.r.t. weights, (outputs, inputs), and biases, (outputs,), are written; then the
        vector that all these are views of. Returns that vector.
        """
        *by_layer, flat = tensors
        for inputs, grads, by_weight, by_bias in zip(*(by_layer[first::4] for first in range(4)), strict=True):
            if inputs.dtype == by_weight.dtype:
                self.products.matmul(grads, inputs, out=by_weight)
            else:
                by_weight.copy_(self.products.matmul(grads, inputs))
            torch.sum(grads, 1, dtype=by_bias.dtype, out=by_bias)
        return [flat]


class _Layer(NamedTuple):
    """A layer in phase 1, on B rows: images, or draws of their latents.

    The last three are written, and phase 2 reads inputs and gradients.
    """

    weight: Tensor
    """(outputs, inputs)."""
    bias: Tensor
    """(outputs,)."""
    input: Tensor
    """(B, inputs)."""
    output: Tensor
    """(B, outputs): the next layer's input, or at the end of a network memory of its own, of the sums' dtype."""
    grad: Tensor
    """Gradient w.r.t. the layer's output, (B, outputs)."""


class FixedProgram:
    """A function of tensors and of a list of tensors that is always the same: compiled in its first call."""

    def __init__(self, function: Program, fixed: list[Tensor]) -> None:
        self.function, self.fixed = function, fixed
        self._compiled: Program | None = None

    def compiled(self, *arguments: Tensor) -> Program:
        """The program for arguments such as these, and `fixed` after them."""
        if self._compiled is None:
            self._compiled = without_python(self.function, [*arguments, self.fixed])
        return self._compiled

    def __call__(self, *arguments: Tensor) -> list[Tensor]:
        return self.compiled(*arguments)(*arguments, self.fixed)


@dataclass
class Batch:
    """What batches of one size need: for each part the program of phase 1, and for each share that of phase 2."""

    images: list[FixedProgram] = field(default_factory=list)
    weights: list[FixedProgram] = field(default_factory=list)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor.to(dtype)`, which a program would call even where it does nothing."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def _range(tensor: Tensor, rows: slice) -> slice:
    """Where some rows of `tensor`, a part of the flat weights, lie in these."""
    row = tensor.stride(0)
    return slice(tensor.storage_offset() + rows.start * row, tensor.storage_offset() + rows.stop * row)
