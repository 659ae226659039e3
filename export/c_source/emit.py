"""Networks → the text of `generator.h` and `generator.c`: fixed kernels from `text/`, and what a model adds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.c_source.compact import stored
from export.c_source.memory import lay_out
from export.c_source.network import (
    Activation,
    Combination,
    Convolution,
    Floats,
    Linear,
    Network,
    Normalization,
    Reorder,
    Resize,
    Scale,
    Step,
    Storage,
)
from export.c_source.self_test import Expected
from runtime.manifest import Metadata
from runtime.noise import normal_table
from runtime.prior import Prior

PANEL = 16
"""Outputs whose weights lie side by side: one AVX-512 vector, two of AVX, four of SSE, NEON or WebAssembly."""
_LARGEST_BLOCK = 16
_BLOCK_BYTES = 128 * 1024  # of working memory; what a thread's stack holds without a thought
_CALL_BYTES = 4096  # of stack beside the working memory
_OLDEST_GCC = {"float32": 4, "int8": 9, "fp16": 9}  # with the vector extensions that the widening of weights needs
_WEIGHTS = {
    "float32": "",
    "int8": " Its weights are rounded to 8 bits.",
    "fp16": " Its weights are rounded to 16 bits.",
}
_TEXT = Path(__file__).parent / "text"


@dataclass(frozen=True)
class Sources:
    """The two files."""

    header: str
    source: str
    constant_bytes: int
    """Of the weights and tables in the compiled file."""


def emit(
    decoder: Network, encoder: Network | None, metadata: Metadata, expected: Expected, prior: Prior | None = None
) -> Sources:
    """Both files. expected: what the self-test must find. prior: None is N(0, I).

    The header is the same for every storage of the weights, which both networks share.
    """
    networks = [network for network in (decoder, encoder) if network is not None]
    storage = decoder.storage
    sizes = _Sizes.of(networks, metadata)
    title = f"A generator of vae-toolchain: {_comment(metadata.provenance.get('architecture', 'a decoder'))}."
    data = [_Array("vae_scores", normal_table()[len(normal_table()) // 2 :].view(np.uint32))]
    if prior:
        data += [_Array("vae_thresholds", prior.thresholds), _Array("vae_aliases", prior.aliases)]
        data += [_Array("vae_shift", prior.shift), _Array("vae_deviation", prior.scale)]
    decoder_part = _function(decoder, data)
    encoder_data: list[_Array] = []
    encoder_parts = [_function(encoder, encoder_data), _text("encoder_doors")] if encoder else []
    parts = [
        f"/* {title} generator.h says what it does.{_WEIGHTS[storage]} */",
        '#include "generator.h"\n',
        _text("guards"),
        _fill("vectors.c", oldest_gcc=_OLDEST_GCC[storage]),
        _constants(sizes, expected, prior),
        _declarations(data, encoder_data, max((step.weight.shape[2] for step in _convolutions(networks)), default=0)),
        _text(*_kernels(networks, storage)),
        decoder_part,
        _text("noise", "mixture_prior" if prior else "normal_prior", "pixels", "decoder_doors"),
        *_guarded(encoder_parts),
        _text("self_test"),
        "/* ---- Tables and weights, as the bits of floats " + "-" * 68 + " */\n",
        *(array.definition for array in data),
        *_guarded([array.definition for array in encoder_data]),
    ]
    constant_bytes = sum(array.stored.nbytes for array in (*data, *encoder_data))
    return Sources(_header(title, metadata, sizes, prior), "\n".join(parts), constant_bytes)


@dataclass(frozen=True)
class _Sizes:
    """What a call needs of memory."""

    work: dict[str, int]
    """Floats of working memory for one image, by network: its input and output in C source's order, and the rest."""
    block: int
    """Images at a time in a batch of the decoder."""
    encoder_block: int
    """The same where the encoder is used: its working memory is often larger."""
    taps: int
    """Of the largest kernel of a convolution; 0 where there is none."""
    latent_dim: int
    call_bytes: int
    """Of stack, beside the working memory."""

    @classmethod
    def of(cls, networks: Sequence[Network], metadata: Metadata) -> _Sizes:
        pixels = math.prod(metadata.image_shape)
        work = {network.name: lay_out(network).work + pixels for network in networks}
        work["decoder"] += metadata.latent_dim
        block, encoder_block = _block(work["decoder"]), _block(max(work.values()))
        taps = max((step.weight.shape[0] * step.weight.shape[1] for step in _convolutions(networks)), default=0)
        latents = metadata.latent_dim
        return cls(work, block, encoder_block, taps, latents, _CALL_BYTES + 128 * taps + 8 * latents)

    @property
    def batch_bytes(self) -> int:
        """Of stack, in a call for a batch."""
        both = self.encoder_block * (4 * max(self.work.values()) + 8 * self.latent_dim)
        return max(4 * self.block * self.work["decoder"], both) + self.call_bytes


def _block(floats: int) -> int:
    """How many images of so much working memory are computed together."""
    block = _LARGEST_BLOCK
    while block > 1 and 4 * block * floats > _BLOCK_BYTES:
        block //= 2
    return block


def _header(title: str, metadata: Metadata, sizes: _Sizes, prior: Prior | None) -> str:
    channels, height, width = metadata.image_shape
    return _fill(
        "generator.h",
        title=title,
        pair_id=metadata.pair_id,
        latent_dim=metadata.latent_dim,
        channels=channels,
        height=height,
        width=width,
        classes=len(prior.classes) if prior else 0,
        labels=_labels(prior),
        has_encoder=int("encoder" in sizes.work),
        stack=4 * max(sizes.work.values()) + sizes.call_bytes,
        stack_batch=sizes.batch_bytes,
        block=sizes.block,
    )


def _guarded(parts: Sequence[str]) -> list[str]:
    """Left out where the user compiles without the encoder."""
    return ["#if VAE_HAS_ENCODER\n", *parts, "#endif\n"] if parts else []


def _constants(sizes: _Sizes, expected: Expected, prior: Prior | None) -> str:
    lines = [
        f"#define VAE_{name.upper()}_WORK {floats} /* floats for each image */" for name, floats in sizes.work.items()
    ]
    lines.append(f"#define VAE_BLOCK {sizes.block} /* images at a time in a batch */")
    if "encoder" in sizes.work:
        lines.append(f"#define VAE_ENCODER_BLOCK {sizes.encoder_block}")
    if sizes.taps:
        lines.append(f"#define VAE_MOST_TAPS {sizes.taps}")
    if prior:
        lines += [f"#define VAE_SLOTS {prior.slots}", f"#define VAE_SLOT_SHIFT {prior.slot_shift}"]
    lines += [f"#define VAE_EXPECTED_{name.upper()} 0x{value:08X}u" for name, value in expected.items()]
    return "\n".join(lines) + "\n"


def _labels(prior: Prior | None) -> str:
    """What the header says of labels, in a comment."""
    names = [_comment(name) for name in prior.classes] if prior else []
    shown = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    return f"labels: {shown}" if shown else "this model knows no classes: the only label is -1"


def _comment(text: object) -> str:
    """Text from outside as part of a comment in C: plain ASCII in one line, which neither ends nor opens a comment."""
    plain = " ".join(str(text).encode("ascii", "replace").decode().split())
    return "".join(letter if letter.isprintable() else "?" for letter in plain).replace("/", "|")


def _kernels(networks: Sequence[Network], storage: Storage) -> list[str]:
    """The files of `text/` that the steps need, each after what it needs itself."""
    names = ["numbers"]
    activations = {step.name for step in _steps(networks, Activation)}
    if activations & {"elu", "erf", "sigmoid", "silu", "tanh"}:
        names.append("exponential")
    names += sorted(activations)
    names += sorted({step.name for step in _steps(networks, Combination)})
    layers = {Scale: "scale", Normalization: "normalize", Resize: "resize", Reorder: "reorder"}
    names += [name for kind, name in layers.items() if any(_steps(networks, kind))]
    if any("vae_copy(" in line for network in networks for line in _calls(network)):
        names.append("copy")
    products = [
        name for kind, name in ((Linear, "linear"), (Convolution, "convolution")) if any(_steps(networks, kind))
    ]
    return [*names, *([f"{storage}_weights", "tiles"] if products else []), *products]


_INTEGERS = tuple(map(np.dtype, ("int8", "uint16", "uint32")))


@dataclass(frozen=True)
class _Array:
    """A constant of the file, declared before the code and defined after it, where its length hides nothing."""

    name: str
    values: npt.NDArray[Any]
    """Of a type in _INTEGERS, or numbers that are written as the bits of float32."""

    @property
    def stored(self) -> npt.NDArray[Any]:
        """The values as they lie in memory, floats as their bits."""
        if self.values.dtype in _INTEGERS:
            return self.values.ravel()
        return np.ascontiguousarray(self.values, np.float32).view(np.uint32).ravel()

    @property
    def holds_floats(self) -> bool:
        return self.values.dtype not in _INTEGERS

    @property
    def declaration(self) -> str:
        if self.holds_floats:
            return f"static const vae_floats_{self.values.size} VAE_ALIGNED {self.name}"
        return f"static const {self.values.dtype}_t VAE_ALIGNED {self.name}[{self.values.size}]"

    @property
    def definition(self) -> str:
        opening, closing = ("{{", "}}") if self.holds_floats else ("{", "}")
        return f"{self.declaration} = {opening}\n{_lines(self.stored)}{closing};\n"


def _declarations(arrays: Sequence[_Array], encoder_arrays: Sequence[_Array], inputs: int) -> str:
    both = (*arrays, *encoder_arrays)
    sizes = sorted({array.values.size for array in both if array.holds_floats})
    lines = ["/* Bits and the numbers that they are; the values stand at the end of the file. */"]
    lines += [f"typedef union {{ uint32_t bits[{size}]; float numbers[{size}]; }} vae_floats_{size};" for size in sizes]
    lines += [f"{array.declaration};" for array in arrays]
    if inputs:
        lines.append(f"static const float vae_zeros[{inputs}] = {{0.0f}}; /* what lies outside an image */")
    lines += _guarded([f"{array.declaration};" for array in encoder_arrays])
    return "\n".join(lines) + "\n"


def _function(network: Network, data: list[_Array]) -> str:
    """The C function of a network; the arrays of its steps are appended to `data`."""
    geometries = []
    for number, step in enumerate(network.steps):
        name = f"vae_{network.name}_{number}"
        match step:
            case Linear() | Convolution():
                rows = stored(_panels(step.weight.reshape(-1, step.weight.shape[-1])), network.storage)
                data += [_Array(f"{name}_weight", rows), _Array(f"{name}_bias", step.bias)]
                if isinstance(step, Convolution):
                    geometries.append(_geometry(name, step))
            case Scale():
                data += [_Array(f"{name}_scale", step.scale), _Array(f"{name}_shift", step.shift)]
            case Reorder():
                data.append(_Array(f"{name}_from", step.order.astype(np.uint32)))
    outputs = ", ".join(f"float *{name}" for name in network.outputs)
    shapes = " ".join([f"{network.input} ({network.sizes[network.input]})", "to", *_shapes(network)])
    body = "\n".join(f"    {line}" for line in _calls(network))
    return "\n".join(
        [
            f"/* The {network.name}, {shapes}, of `count` images; work has what each image needs. */",
            *geometries,
            f"static void vae_{network.name}(int count, const float *{network.input}, float *work, {outputs}) {{",
            "    const size_t images = (size_t)count;",
            "    (void)work, (void)images;",
            body,
            "}\n",
        ]
    )


def _shapes(network: Network) -> list[str]:
    return [", ".join(f"{name} ({network.sizes[name]})" for name in network.outputs)]


def _calls(network: Network) -> list[str]:
    """One line of C for each step, and one more where it may not overwrite what it reads."""

    places = lay_out(network).places

    def at(name: str) -> str:
        place = places[name]
        return place if isinstance(place, str) else f"work + images * {place}"

    lines = []
    for number, step in enumerate(network.steps):
        name, source, target = f"vae_{network.name}_{number}", at(step.source), at(step.target)
        size = f"images * {network.sizes[step.target]}"
        if isinstance(step, Activation | Scale | Normalization | Combination) and source != target:
            lines.append(f"vae_copy({source}, {size}, {target});")
        weights = f"{name}_weight{'.numbers' if network.storage == 'float32' else ''}, {name}_bias.numbers"
        match step:
            case Linear():
                inputs, outputs = step.weight.shape
                lines.append(f"vae_linear(count, {source}, {weights}, {inputs}, {outputs}, {target});")
            case Convolution():
                lines.append(f"vae_convolution(count, {source}, {weights}, &{name}_geometry, {target});")
            case Activation():
                numbers = "".join(f", {_number(number)}" for number in step.numbers)
                lines.append(f"vae_{step.name}({target}, {size}{numbers});")
            case Scale():
                channels = len(step.scale)
                rows = f"images * {network.sizes[step.target] // channels}"
                lines.append(f"vae_scale({target}, {rows}, {channels}, {name}_scale.numbers, {name}_shift.numbers);")
            case Normalization():
                pixels = network.sizes[step.target] // (step.groups * step.width)
                layout = f"{pixels}, {step.groups}, {step.width}, {_number(step.epsilon)}"
                lines.append(f"vae_normalize({target}, images, {layout});")
            case Combination():
                lines.append(f"vae_{step.name}({target}, {at(step.other)}, {size});")
            case Resize():
                sizes = ", ".join(map(str, (*step.input_size, *step.output_size, step.channels)))
                lines.append(f"vae_resize(count, {source}, {sizes}, {target});")
            case Reorder():
                given = network.sizes[step.source]
                lines.append(f"vae_reorder(count, {source}, {given}, {name}_from, {len(step.order)}, {target});")
    return lines


def _geometry(name: str, step: Convolution) -> str:
    def pair(values: Iterable[int]) -> str:
        return "{" + ", ".join(map(str, values)) + "}"

    high, wide, inputs, outputs = step.weight.shape
    fields = [
        pair(step.input_size), inputs, pair(step.output_size), outputs, pair((high, wide)),
        pair(step.stride), pair(step.padding), pair(step.dilation), int(step.transposed),
    ]  # fmt: skip
    return f"static const vae_geometry {name}_geometry = {{{', '.join(map(str, fields))}}};"


def _panels(weight: npt.NDArray[np.float64]) -> Floats:
    """(rows, outputs) → (panels, rows, PANEL): the outputs in groups of PANEL, the last filled up with zeros."""
    rows, outputs = weight.shape
    panels = -(-outputs // PANEL)
    padded = np.zeros((rows, panels * PANEL), np.float32)
    padded[:, :outputs] = weight
    return np.ascontiguousarray(padded.reshape(rows, panels, PANEL).transpose(1, 0, 2))


def _lines(values: npt.NDArray[Any]) -> str:
    """Words in hexadecimal, ten in a line; signed bytes in decimal, thirty in a line."""
    if values.dtype == np.int8:
        words, wide = [f"{value}," for value in values.tolist()], 30
    else:
        width = 2 * values.itemsize
        digits = values.astype(values.dtype.newbyteorder(">")).tobytes().hex()
        words = [f"0x{digits[start : start + width]}," for start in range(0, len(digits), width)]
        wide = 10
    return "".join("".join(words[start : start + wide]) + "\n" for start in range(0, len(words), wide))


def _number(value: float) -> str:
    text = f"{np.float32(value).item():.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _fill(template: str, **values: object) -> str:
    text = (_TEXT / template).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def _text(*names: str) -> str:
    return "\n".join((_TEXT / f"{name}.c").read_text(encoding="utf-8") for name in names)


def _convolutions(networks: Iterable[Network]) -> list[Convolution]:
    return _steps(networks, Convolution)


def _steps(networks: Iterable[Network], kind: type[Step]) -> list[Any]:
    return [step for network in networks for step in network.steps if isinstance(step, kind)]
