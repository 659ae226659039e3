"""The parity check: a graph is published only if its outputs match the trained model in every engine.

It compares names, shapes, types and values, in this order, and raises a different error for each. The reference for
values is the model in float64 with noise from NumPy (`export.checks.reference`).

- Images, means and log-variances: the error is |x − reference| / max(1, |reference|), the maximum over values, inputs
  and batch sizes. The tolerance is 4 times what float32 can do for this graph: the larger of the error of eager PyTorch
  and the one that `export.checks.rounding` derives for sums with one accumulator. It is at least 1e-6. For images and
  means it is at most 1e-5; in deep graphs, those with more than 8 matrix products and convolutions or with a
  normalisation, at most 1e-3 for images and 1e-2 for means.
- Pixels: within one grey level. Where float32 itself errs by more than a quarter of a level on a reconstruction, within
  4 times that error, but never over DEEP_LEVEL_LIMIT.
- Latents of the sampler: bit-identical, for enough latents that every entry of the normal table is used, and every
  component of a mixture.
- Components of a mixture: identical, on both sides of the threshold of every slot of every table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.nn.attention import SDPBackend, sdpa_kernel

from export.checks import engines
from export.checks.cost import BATCHES
from export.checks.engines import Arrays, Engine
from export.checks.reference import Reference
from export.checks.rounding import Float32Rounding
from export.errors import NamesError, ShapesError, TypesError, ValuesError
from export.specs import GraphSpec
from runtime.bundle import Bundle
from runtime.images.pixels import to_float
from runtime.manifest import DEEP_LEVEL_LIMIT, HARD_OUTPUTS, LEVEL_LIMIT, ceiling_of
from runtime.noise import normal_table, standard_normal
from runtime.prior import ANY_CLASS, FULL, Prior

FACTOR = 4.0
SMALLEST_LIMIT = 1e-6
RELATIVE, LEVELS, DIFFERING = "relative error", "grey levels", "differing values"
LATENTS, COMPONENT = "latents", "component"
_SEED = 0
_LARGE_SEED = 2**62 + 12_345  # with _LARGE_INDEX: the high words of key and counter are used too
_LARGE_INDEX = 2**40
_LOOKUPS_PER_ENTRY = 18  # so many random look-ups per entry miss any of the 65,536 entries with probability 0.001
# Images of each kind whose rounding errors are derived. Over their many values the largest is about that of 64 images.
_ROUNDING_ROWS = 4
Limits = dict[str, float]


@dataclass(frozen=True)
class ParityMeasurement:
    """The largest error of one engine on one output for one kind of input."""

    graph: str
    engine: str
    output: str
    inputs: str
    measure: str
    """RELATIVE, LEVELS or DIFFERING."""
    max_error: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the limit; False if it is NaN."""
        return self.max_error <= self.limit


def check_graph(
    spec: GraphSpec,
    reference: Reference,
    bundle: Bundle,
    reference_images: npt.NDArray[np.uint8],
    *,
    strict: bool = False,
    more: Sequence[Engine] = (),
) -> list[ParityMeasurement]:
    """Compare one graph of `bundle` with the reference, in every engine that can run one of its files.

    reference_images: uint8 (N, H, W, C), test images. strict: also run OpenVINO and OpenCV, where they are installed.
    more: engines that have loaded the graph already. Large models are checked on smaller batches (`Cost.batches`).
    Raises NamesError, ShapesError, TypesError or ValuesError at the first difference, naming graph, engine, output and
    input.
    """
    batches = within(reference.cost.batches, spec.largest_batch)
    cases = _input_cases(spec, bundle, reference_images)
    # Of the largest batch alone: in float64, a row does not depend on the others to 1e-9 (`export.source.modules`).
    expected = {case: reference.run(spec.name, _first(spec, inputs, max(batches))) for case, inputs in cases.items()}
    derived, ceilings = _rounding(spec, reference, cases, expected)
    levels = _level_limits(reference, cases) if spec.name == "reconstructor" else {}
    eager = engines.eager(spec)
    measurements = _measure(spec, eager, reference, cases, expected, batches, ceilings, levels)
    # The maximum over all inputs: on one of them eager PyTorch may happen to be exact, and no other engine could pass.
    limits = {}
    for port in spec.outputs:
        errors = [entry.max_error for entry in measurements if entry.output == port.name]
        unit = max([*errors, derived.get(port.name, 0.0)])
        limits[port.name] = min(ceilings.get(port.name, np.inf), max(FACTOR * unit, SMALLEST_LIMIT))
    for engine in (*engines.exported(spec, bundle, strict=strict), *more):
        few = within(reference.cost.interpreted_batches, spec.largest_batch) if engine.interpreted else batches
        if few:
            measurements += _measure(spec, engine, reference, cases, expected, few, limits, levels)
    return measurements


def within(batches: tuple[int, ...], largest: int | None) -> tuple[int, ...]:
    """The batches, those above the largest of the model cut to it."""
    return batches if largest is None else tuple(dict.fromkeys(min(batch, largest) for batch in batches))


def _rounding(
    spec: GraphSpec, reference: Reference, cases: dict[str, Arrays], expected: dict[str, Arrays]
) -> tuple[Limits, Limits]:
    """The largest error of float32 with one accumulator for each float output, and the ceiling of each."""
    derived: Limits = {}
    ceilings: Limits = {}
    if all(port.dtype == "uint8" for port in spec.outputs):
        return derived, ceilings
    for seed, (case, inputs) in enumerate(cases.items()):
        rows = min(_ROUNDING_ROWS, *(len(output) for output in expected[case]))
        few = _first(spec, inputs, rows)
        # Fused attention is one operation; as products and a softmax, their errors are known.
        with Float32Rounding(seed) as rounding, sdpa_kernel(SDPBackend.MATH):
            outputs = reference.run(spec.name, few)
        for port, output, exact in zip(spec.outputs, outputs, expected[case], strict=True):
            derived[port.name] = max(derived.get(port.name, 0.0), _relative_error(output, exact[:rows]))
            if port.name in HARD_OUTPUTS:
                ceilings[port.name] = ceiling_of(port.name, rounding.contractions, rounding.normalises)
    return derived, ceilings


def _level_limits(reference: Reference, cases: dict[str, Arrays]) -> Limits:
    """Kind of input → the most that its reconstructions may differ, in grey levels, by what float32 can do for them."""
    limits = {}
    for seed, (case, (pixels,)) in enumerate(cases.items()):
        few = pixels[: min(_ROUNDING_ROWS, reference.cost.rows)]
        with Float32Rounding(seed), sdpa_kernel(SDPBackend.MATH):
            rounded = reference.reconstruction(few)
        derived = 255 * float(np.abs(rounded - reference.reconstruction(few)).max())
        limits[case] = float(min(DEEP_LEVEL_LIMIT, max(LEVEL_LIMIT, np.ceil(FACTOR * derived))))
    return limits


def _input_cases(spec: GraphSpec, bundle: Bundle, reference_images: npt.NDArray[np.uint8]) -> dict[str, Arrays]:
    """Name → inputs with 64 rows: typical values, and the extremes that a user may pass."""
    rows = max(BATCHES)
    metadata = bundle.manifest.metadata
    channels, height, width = metadata.image_shape
    if spec.name == "decoder":
        prior = standard_normal(_SEED, np.arange(rows), metadata.latent_dim)
        norms = np.linalg.norm(prior, axis=1, keepdims=True)
        return {
            "prior latents": [prior],
            "latents of norm 4√L": [(prior / norms * 4 * np.sqrt(metadata.latent_dim)).astype(np.float32)],
        }
    if spec.name == "sampler":
        one, cold = np.array(1, np.float32), np.array(0.5, np.float32)
        labels = _labels(spec, rows)
        return {
            "seed 0": [np.array(_SEED), np.arange(rows), one, *labels],
            "large seed and indices": [np.array(_LARGE_SEED), _LARGE_INDEX + np.arange(rows)[::-1], one, *labels],
            "temperature 0.5": [np.array(_SEED), np.arange(rows), cold, *labels],
        }
    pixels = {
        "test images": reference_images[np.arange(rows) % len(reference_images)],
        "black images": np.zeros((rows, height, width, channels), np.uint8),
        "white images": np.full((rows, height, width, channels), 255, np.uint8),
    }
    return {case: [images if spec.name == "reconstructor" else to_float(images)] for case, images in pixels.items()}


def _labels(spec: GraphSpec, count: int) -> Arrays:
    """Labels int64 (count,), every class and -1 in turn, for a sampler that takes them; otherwise nothing."""
    port = next((port for port in spec.inputs if port.name == "label"), None)
    if port is None:
        return []
    assert port.range is not None
    lowest, highest = map(int, port.range)
    return [lowest + np.arange(count) % (highest - lowest + 1)]


def _first(spec: GraphSpec, inputs: Arrays, batch: int) -> Arrays:
    return [array[:batch] if "N" in port.shape else array for port, array in zip(spec.inputs, inputs, strict=True)]


def _measure(
    spec: GraphSpec,
    engine: Engine,
    reference: Reference,
    cases: dict[str, Arrays],
    expected: dict[str, Arrays],
    batches: Sequence[int],
    limits: Limits,
    levels: Limits,
) -> list[ParityMeasurement]:
    """Measure one engine on all inputs. Raises at the first difference.

    limits: of float outputs; none if missing. levels: of pixels, by kind of input; LEVEL_LIMIT if missing.
    """
    _check_declared(spec, engine)
    measurements = [] if engine.latents is None else [_measure_latents(spec, engine, reference)]
    if engine.component is not None:
        measurements.append(_measure_components(spec, engine, reference))
    for case, inputs in cases.items():
        errors = dict.fromkeys((port.name for port in spec.outputs), 0.0)
        for batch in batches:
            outputs = _run(spec, engine, _first(spec, inputs, batch), batch)
            right = [output[:batch] for output in expected[case]]
            _check_structure(spec, engine, outputs, right)
            for port, output, exact in zip(spec.outputs, outputs, right, strict=True):
                error = _levels(output, exact) if port.dtype == "uint8" else _relative_error(output, exact)
                errors[port.name] = float(np.maximum(errors[port.name], error))  # keeps NaN
        for port in spec.outputs:
            pixels = port.dtype == "uint8"
            limit = levels.get(case, LEVEL_LIMIT) if pixels else limits.get(port.name, np.inf)
            measure = LEVELS if pixels else RELATIVE
            entry = ParityMeasurement(spec.name, engine.name, port.name, case, measure, errors[port.name], limit)
            measurements.append(_require_passed(entry))
    return measurements


def _measure_latents(spec: GraphSpec, engine: Engine, reference: Reference) -> ParityMeasurement:
    """Count the latents that are not bit-identical to those of the reference."""
    assert engine.latents is not None
    count = -(-len(normal_table()) * _LOOKUPS_PER_ENTRY // (2 * reference.latent_dim))
    if reference.prior is not None:
        count = max(count, reference.prior.slots * _LOOKUPS_PER_ENTRY)
    differing = 0
    for seed, index in (
        (_SEED, np.arange(count)),
        (_LARGE_SEED, _LARGE_INDEX + np.arange(max(BATCHES))[::-1]),
        *((_SEED, np.arange(batch)) for batch in BATCHES),
    ):
        inputs = [np.array(seed), np.ascontiguousarray(index), *_labels(spec, len(index))]
        exact = reference.latents(*inputs)
        rows = spec.largest_batch or len(index)
        parts = [
            engine.latents([inputs[0], *(array[start : start + rows] for array in inputs[1:])])
            for start in range(0, len(index), rows)
        ]
        latents = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if latents.shape != exact.shape:
            raise ShapesError(f"{_place(spec, engine, LATENTS)} should be {exact.shape} but are {latents.shape}")
        differing += int((latents.view(np.uint32) != exact.view(np.uint32)).sum())
    return _require_passed(
        ParityMeasurement(spec.name, engine.name, LATENTS, "seeds and indices", DIFFERING, differing, 0)
    )


def _measure_components(spec: GraphSpec, engine: Engine, reference: Reference) -> ParityMeasurement:
    """Count the components that differ from those of the reference, for words just below and at every threshold, and
    the lowest and highest word of every slot. Random draws would have to be billions to come so near.
    """
    assert engine.component is not None
    assert reference.prior is not None
    word, label = _words_at_thresholds(reference.prior)
    inputs = [word.astype(np.int64), *([label] if reference.prior.classes else [])]
    found, exact = engine.component(inputs), reference.component(word, label)
    if found.shape != exact.shape:
        raise ShapesError(f"{_place(spec, engine, COMPONENT)} should be {exact.shape} but is {found.shape}")
    differing = int((found != exact).sum())
    return _require_passed(
        ParityMeasurement(spec.name, engine.name, COMPONENT, "words at thresholds", DIFFERING, differing, 0)
    )


def _words_at_thresholds(prior: Prior) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Words uint32 (N,) with their labels int64 (N,), four for each slot of each table.

    The low 16 bits of a word are compared with the threshold of its slot. Here they are one below it, equal to it, the
    lowest and the highest.
    """
    rows, slots = prior.thresholds.shape
    threshold = prior.thresholds.astype(np.int64)
    low = np.stack(
        [np.maximum(threshold - 1, 0), np.minimum(threshold, FULL - 1), 0 * threshold, 0 * threshold + FULL - 1]
    )
    between = 0xFFFF0000 >> (slots.bit_length() - 1) & 0xFFFF0000  # unused bits; set in every other slot
    slot = np.arange(slots) << prior.slot_shift | np.where(np.arange(slots) % 2, between, 0)
    label = np.broadcast_to(np.arange(rows)[:, None] + ANY_CLASS, low.shape)
    return (low | slot).astype(np.uint32).ravel(), label.ravel()


def _run(spec: GraphSpec, engine: Engine, inputs: Arrays, batch: int) -> Arrays:
    try:
        return engine.run(inputs)
    except Exception as error:  # engines raise unrelated classes for a batch size that a graph does not accept
        reason = " ".join(str(error).split())[:200]
        raise ShapesError(
            f"{spec.name} in {engine.name}: cannot run a batch of {batch}: {reason}; nothing was published"
        ) from error


def _check_declared(spec: GraphSpec, engine: Engine) -> None:
    """Compare the inputs and outputs that a file declares with the contract: names first, then shapes, then types."""
    if engine.ports is None:
        return
    for side, ports, contract in zip(("inputs", "outputs"), engine.ports, (spec.inputs, spec.outputs), strict=True):
        names, expected_names = [port.name for port in ports], [port.name for port in contract]
        if names != expected_names:
            raise NamesError(
                f"{spec.name} in {engine.name}: its {side} should be {', '.join(expected_names)} "
                f"but are {', '.join(names) or 'none'}; nothing was published"
            )
    pairs = [
        pair
        for ports, contract in zip(engine.ports, (spec.inputs, spec.outputs), strict=True)
        for pair in zip(ports, contract, strict=True)
    ]
    for found, expected in pairs:
        if found.shape != expected.shape:
            place = f"{spec.name} in {engine.name}: {expected.name!r}"
            raise ShapesError(f"{place} should be {expected.shape} but is {found.shape}; nothing was published")
    for found, expected in pairs:
        if found.dtype != expected.dtype:
            place = f"{spec.name} in {engine.name}: {expected.name!r}"
            raise TypesError(f"{place} should be {expected.dtype} but is {found.dtype}; nothing was published")


def _check_structure(spec: GraphSpec, engine: Engine, outputs: Arrays, expected: Arrays) -> None:
    """Check number, shape and type of the outputs."""
    if len(outputs) != len(expected):
        raise NamesError(
            f"{spec.name} in {engine.name}: should give {len(expected)} outputs but gives {len(outputs)}; "
            "nothing was published"
        )
    for port, output, exact in zip(spec.outputs, outputs, expected, strict=True):
        place = _place(spec, engine, port.name)
        if output.shape != exact.shape:
            raise ShapesError(f"{place} should be {exact.shape} but is {output.shape}; nothing was published")
        if output.dtype != np.dtype(port.dtype):
            raise TypesError(f"{place} should be {port.dtype} but is {output.dtype}; nothing was published")


def _require_passed(entry: ParityMeasurement) -> ParityMeasurement:
    if not entry.passed:
        raise ValuesError(
            f"{entry.graph} in {entry.engine}: output {entry.output!r} on {entry.inputs} is off by "
            f"{entry.max_error:.3g} ({entry.measure}), at most {entry.limit:.3g} is allowed; nothing was published"
        )
    return entry


def _place(spec: GraphSpec, engine: Engine, output: str) -> str:
    return f"{spec.name} in {engine.name}: output {output!r}"


def _relative_error(output: npt.NDArray[Any], exact: npt.NDArray[Any]) -> float:
    return float((np.abs(output - exact) / np.maximum(1, np.abs(exact))).max())


def _levels(output: npt.NDArray[Any], exact: npt.NDArray[Any]) -> float:
    return float(np.abs(output.astype(np.float64) - exact).max())
