"""Anybody's encoder and decoder as a source of an export, after checks that name what does not fit.

Each check raises ModelError with one sentence. What a check can say only after tracing (a branch on the batch size or
on values) is found by `_largest_batch`.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from export.errors import ModelError
from export.halves import AdaptedModule, Adapter, ForeignConfig, ForeignVAE
from export.quiet import quiet
from runtime.images.pixels import to_float
from runtime.noise import standard_normal

SMALLEST_IMAGES = 4
_ROWS = 4  # rows of the trial runs; the guard of the batch compares them one by one
_RANGE_ROWS = 16
_POSTERIOR_ROWS = 8
_SAME = 1e-9  # relative difference of two float64 evaluations of one row: rounding alone gives 1e-13
_RANGE_SLACK = 1e-5  # of the range: float32 rounding of a tanh or a sigmoid
_SMALLEST_BATCH_LIMIT = 2  # a largest batch below this is a fixed batch
_DECISIVE = 0.5  # of the squared error, and of the images' variance: no untrained model comes near

Pixels = npt.NDArray[np.uint8]


def foreign_model(
    decoder: nn.Module,
    encoder: nn.Module | None,
    config: ForeignConfig,
    images: Pixels | None,
    encode: Adapter | None,
    decode: Adapter | None,
) -> ForeignVAE:
    """Check the halves, and join them. The arguments are those of `Source.of_modules`. Raises ModelError."""
    _check_config(config)
    halves = {"decoder": decoder} if encoder is None else {"decoder": decoder, "encoder": encoder}
    for name, half in halves.items():
        _check_state(name, half)
    model = ForeignVAE(_adapted(decoder, decode), None if encoder is None else _adapted(encoder, encode), config).eval()
    exact = model.in_float64()
    z = standard_normal(0, np.arange(_RANGE_ROWS), config.latent_dim).astype(np.float64)
    latents = torch.from_numpy(z.reshape(-1, *config.latent_shape))
    _check_half("decoder", exact.decoder, latents[:_ROWS], [config.image_shape], "images")
    far = latents * (4 * config.latent_dim**0.5 / latents.flatten(1).norm(dim=1).view(-1, *[1] * (latents.ndim - 1)))
    _check_range(exact, latents, "latents of the prior")
    _check_range(exact, far, "latents of norm 4√L")
    if exact.encoder is not None:
        assert images is not None
        values = _values(images[:_POSTERIOR_ROWS], config.value_range)
        _check_half("encoder", exact.encoder, values[:_ROWS], [config.latent_shape] * 2, "mean and log-variance")
        _check_posterior(model, values.float())
    model.largest_batch = _largest_batch(model)
    return model


def check_images(images: Any, image_shape: tuple[int, int, int]) -> None:
    """Check that there are real images, of the model's shape and type. Raises ModelError."""
    channels, height, width = image_shape
    expected = f"images should be uint8 (N, {height}, {width}, {channels}), N at least {SMALLEST_IMAGES}"
    if images is None:
        raise ModelError(f"{expected}, but there are none; an encoder is checked on real ones")
    if not isinstance(images, np.ndarray):
        raise ModelError(f"{expected}, but are a {type(images).__name__}")
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels) or len(images) < SMALLEST_IMAGES:
        raise ModelError(f"{expected}, but are {images.dtype} {images.shape}")


def _adapted(module: nn.Module, adapter: Adapter | None) -> nn.Module:
    return module if adapter is None else AdaptedModule(module, adapter)


def _check_config(config: ForeignConfig) -> None:
    if not config.latent_shape or min(config.latent_shape) < 1:
        raise ModelError(f"latent_shape should be sizes of at least 1, such as (4, 8, 8), but is {config.latent_shape}")
    if len(config.image_shape) != 3 or config.image_shape[0] not in (1, 3) or min(config.image_shape) < 1:
        raise ModelError(f"image_shape should be (1 or 3, height, width) but is {config.image_shape}")
    low, high = config.value_range
    if not (np.isfinite([low, high]).all() and low < high):
        raise ModelError(f"value_range should be the values of black and white, such as (-1, 1), but is {low}, {high}")


def _check_state(name: str, module: Any) -> None:
    """Check mode, device and types of a half, without running it."""
    if not isinstance(module, nn.Module):
        raise ModelError(f"{name}: should be a torch.nn.Module but is a {type(module).__name__}")
    for part_name, part in module.named_modules():
        if part.training:
            where = f"{name}.{part_name}" if part_name else name
            raise ModelError(f"{where} ({type(part).__name__}) is in training mode; call eval() on the {name} first")
    for tensor_name, tensor in (*module.named_parameters(), *module.named_buffers()):
        where = f"{name}.{tensor_name}"
        if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
            raise ModelError(f"{where} is lazy and has no shape yet; run the {name} once on a batch first")
        if tensor.device.type != "cpu":
            raise ModelError(f"{where} is on {tensor.device}; move the {name} with .cpu() first")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ModelError(f"{where} is {kind}, but bundles compute in float32; call .float() on the {name} first")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{where} holds NaN or infinity")


def _check_half(name: str, module: nn.Module, given: Tensor, expected: Sequence[tuple[int, ...]], what: str) -> None:
    """Check outputs of a half in float64: number, shapes, and that a row depends on itself alone.

    given: (4, …) in float64. expected: the shape of each output without its batch.
    """
    outputs = _outputs(name, module, given, f"a batch of {len(given)}", given)
    _check_shapes(name, outputs, [(len(given), *shape) for shape in expected], what)
    again = _outputs(name, module, given, f"a batch of {len(given)}", given)
    difference = _difference(outputs, again)
    if not difference <= _SAME:
        raise ModelError(
            f"{name}: two runs on the same input differ by {difference:.3g}; it draws random numbers: "
            "give the mean, and leave the noise to the sampler"
        )
    for row in range(len(given)):
        alone = _outputs(name, module, given[row : row + 1], "a batch of 1", given)
        _check_shapes(name, alone, [(1, *shape) for shape in expected], what)
        difference = _difference([output[row : row + 1] for output in outputs], alone)
        if not difference <= _SAME:
            raise ModelError(
                f"{name}: the output for a row changes by {difference:.3g} with the other rows of its batch; "
                "each must depend on itself alone"
            )


@torch.no_grad()
def _outputs(name: str, module: nn.Module, given: Tensor, batch: str, whole: Tensor) -> list[Tensor]:
    """Outputs of a half as a list. The global random state is left as it was."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.seed()
            result = module(given)
    except Exception as error:  # whatever the user's code raises
        reason = " ".join(str(error).split())[:200]
        if len(given) != len(whole):
            raise ModelError(
                f"{name}: runs a batch of {len(whole)} but not {batch}, its batch is fixed: {reason}"
            ) from error
        shape = tuple(given.shape)
        raise ModelError(
            f"{name}: cannot run an input of {shape} in float64: {type(error).__name__}: {reason}"
        ) from error
    outputs = [result] if isinstance(result, Tensor) else result
    wanted = "one tensor, the images" if name == "decoder" else "a pair of tensors, mean and log-variance"
    if not isinstance(outputs, list | tuple) or not all(isinstance(output, Tensor) for output in outputs):
        raise ModelError(
            f"{name}: should give {wanted}, but gives a {type(result).__name__}; "
            f"take what is meant with {name.removesuffix('r')}=lambda module, x: …"
        )
    if len(outputs) != (1 if name == "decoder" else 2):
        shapes = ", ".join(str(tuple(output.shape)) for output in outputs)
        raise ModelError(
            f"{name}: should give {wanted}, but gives {len(outputs)} of the shapes {shapes}; "
            f"take what is meant with {name.removesuffix('r')}=lambda module, x: …"
        )
    return list(outputs)


def _check_shapes(name: str, outputs: Sequence[Tensor], expected: Sequence[tuple[int, ...]], what: str) -> None:
    found = [tuple(output.shape) for output in outputs]
    if found != list(expected):
        if len(found[0]) and found[0][0] != expected[0][0] and found[0][1:] == expected[0][1:]:
            raise ModelError(f"{name}: gives {found[0][0]} rows for a batch of {expected[0][0]}; its batch is fixed")
        raise ModelError(
            f"{name}: its {what} should have the shape {_list(expected)} but have {_list(found)}; "
            "check latent_shape and image_shape"
        )
    for output in outputs:
        if output.dtype != torch.float64:
            kind = str(output.dtype).removeprefix("torch.")
            raise ModelError(
                f"{name}: a copy of it in float64 gives {kind}; it casts inside, or its adapter calls another module "
                "than the one it is given, and nothing exact is left to compare with"
            )
        if not torch.isfinite(output).all():
            raise ModelError(f"{name}: its {what} hold NaN or infinity")


def _list(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(dict.fromkeys(map(str, shapes)))


def _difference(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    return max(float(((a - b).abs() / b.abs().clamp(min=1)).max()) for a, b in zip(first, second, strict=True))


@torch.no_grad()
def _check_range(model: ForeignVAE, latents: Tensor, what: str) -> None:
    low, high = model.config.value_range
    images = [model.decoder(part) for part in latents.split(_ROWS)]
    slack = _RANGE_SLACK * (high - low)
    smallest, largest = min(float(image.min()) for image in images), max(float(image.max()) for image in images)
    if not (low - slack <= smallest and largest <= high + slack):
        raise ModelError(
            f"decoder: its images for {what} reach from {smallest:.4g} to {largest:.4g}, outside the value_range "
            f"[{low:g}, {high:g}]; correct the range, or clamp them: "
            f"decode=lambda module, z: module(z).clamp({low:g}, {high:g})"
        )


@torch.no_grad()
def _check_posterior(model: ForeignVAE, values: Tensor) -> None:
    """Check that the halves belong together, where that can be decided: order of the outputs, and value range.

    values: float32 (N, C, H, W). Refused only if the other reading reconstructs the images with less than half the
    error, and explains more than half of their variance, which an untrained model never does.
    """
    assert model.encoder is not None
    low, high = model.config.value_range
    mean, log_var = model.encoder(values)

    def error(z: Tensor) -> float:
        return float((model.decoder(z.view(-1, *model.config.latent_shape)) - values).square().mean())

    most = _DECISIVE * min(error(mean), float((values - values.mean(0)).square().mean()))
    if error(log_var) < most:
        raise ModelError(
            "encoder: images are reconstructed far better from its second output than from its first; "
            "it should give mean and log-variance in this order"
        )
    for other_low, other_high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        if (other_low, other_high) == (low, high):
            continue
        scaled = other_low + (values - low) / (high - low) * (other_high - other_low)
        result = model.decoder(model.encoder(scaled)[0].view(-1, *model.config.latent_shape))
        back = low + (result - other_low) / (other_high - other_low) * (high - low)
        if float((back - values).square().mean()) < most:
            raise ModelError(
                f"value_range: images are reconstructed far better with [{other_low:g}, {other_high:g}] than with "
                f"[{low:g}, {high:g}]"
            )


def _values(images: Pixels, value_range: tuple[float, float]) -> Tensor:
    """uint8 (N, H, W, C) → float64 (N, C, H, W) in the range of the modules."""
    low, high = value_range
    return low + torch.from_numpy(to_float(images)).double() * (high - low)


def _largest_batch(model: ForeignVAE) -> int | None:
    """Trace both halves. Returns the largest batch for which the traced operations are those of the model.

    Some models branch on their batch: diffusers' upsampling does at 64. Raises ModelError where a half cannot be
    traced, or for one batch size alone.
    """
    channels, height, width = model.config.image_shape
    given = {"decoder": torch.zeros(2, *model.config.latent_shape)}
    if model.encoder is not None:
        given["encoder"] = torch.zeros(2, channels, height, width)
    limits = [_traceable_batch(name, getattr(model, name), example) for name, example in given.items()]
    return min((limit for limit in limits if limit is not None), default=None)


def _traceable_batch(name: str, module: nn.Module, example: Tensor) -> int | None:
    failure = _trace(module, example, None)
    if failure is None:
        return None
    text = " ".join(str(failure).split())
    if "DataDependent" in type(failure).__name__ or "data-dependent" in text:
        raise ModelError(
            f"{name}: branches on the values of its input, which no exported graph can; compute both and choose with "
            "torch.where"
        )
    limit = re.search(r"N = Dim\('N', max=(\d+)\)", text)
    if limit is not None and int(limit[1]) >= _SMALLEST_BATCH_LIMIT and _trace(module, example, int(limit[1])) is None:
        return int(limit[1])
    if re.search(r"specialized it to be a constant", text) or limit is not None:
        raise ModelError(
            f"{name}: its batch is fixed to {len(example)}, or it branches on its batch size; {text[:200]}"
        )
    raise ModelError(f"{name}: cannot be traced: {type(failure).__name__}: {text[:200]}")


def _trace(module: nn.Module, example: Tensor, most: int | None) -> Exception | None:
    """What torch.export raises for this largest batch."""
    batch = torch.export.Dim("N", min=1, max=most)
    try:
        # It prints the graph that failed, on either stream.
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:  # the classes are private to torch
        return error
    return None
