"""Re-check a bundle where it will run: its files, its graphs, and the golden values that travelled with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle
from runtime.c_library import Library
from runtime.errors import BundleError, InputError, VaeRuntimeError
from runtime.golden import Golden, golden_case, read_golden
from runtime.manifest import (
    C_HEADER_NAME,
    C_SOURCE_NAME,
    GOLDEN_NAME,
    HARD_OUTPUTS,
    LEVEL_LIMIT,
    PARITY_NAME,
    PRECISIONS,
    RELATIVE_LIMIT,
    ceiling_of,
)
from runtime.onnx_guard.external_data import MalformedError
from runtime.onnx_guard.graph import ForbiddenError, read_graph
from runtime.prior import ANY_CLASS, prior_latents
from runtime.providers import check_providers
from runtime.pte import PteProgram, executorch_is_installed
from runtime.sampler import Sampler
from runtime.session import GraphSession
from runtime.signature import SIGNATURE_NAME


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    """The file, the graph or the golden value that was checked."""
    passed: bool
    detail: str
    """What was found, or why the check failed."""


@dataclass(frozen=True)
class Report:
    """The results of all checks."""

    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)


def verify_bundle(
    folder: Path,
    *,
    public_key: Path | None = None,
    compiler: Sequence[str] | None = None,
    providers: Sequence[str] | None = None,
) -> Report:
    """Check the bundle in `folder`; its ExecuTorch programs too, where ExecuTorch is installed.

    public_key: as for `Bundle.open`. compiler: command of a C compiler that compiles the bundle's C source for a check;
    the compiled code is run, so use it only for bundles whose maker you trust. providers: as for `Sampler`; they are
    held to the same limits as the CPU.

    A check that fails is reported, not raised. Raises BundleError only where the manifest cannot be read or lacks the
    signature that `public_key` asks for, and InputError for a compiler where there is no C source and for an unknown
    provider.
    """
    engine = check_providers(providers)
    bundle = Bundle.open(folder, public_key=public_key)
    if compiler is not None and bundle.manifest.c is None:
        raise InputError(f"{folder}: holds no C source to compile; vae-export --format all --format c adds it")
    checks = [Check(SIGNATURE_NAME, True, f"by the owner of {public_key}")] if public_key is not None else []
    checks += [_try(name, partial(_file, bundle, name)) for name in sorted(bundle.manifest.files)]
    for graph in sorted(bundle.manifest.graphs):
        for precision, file_format in PRECISIONS.items():
            if file_format in bundle.manifest.graphs[graph].files:
                checks.append(_try(f"{graph} {precision}", partial(_opens, bundle, graph, precision, engine)))
    if GOLDEN_NAME not in bundle.manifest.files:
        checks.append(Check(GOLDEN_NAME, False, "the bundle holds no golden values; run vae-export again"))
        return Report(checks)
    try:
        golden, limits = read_golden(bundle), _certified_limits(bundle)
    except BundleError as error:
        checks.append(Check(GOLDEN_NAME, False, str(error)))
        return Report(checks)
    golden_checks = _golden_checks(bundle, limits, engine)
    if executorch_is_installed():
        golden_checks |= _executorch_checks(bundle, limits)
    for name, check in golden_checks.items():
        checks.append(_try(f"golden {name}", partial(check, golden)))
    if compiler is not None:
        checks.append(_try("golden C source", partial(_c_source, bundle, compiler, golden, limits)))
        for variant in bundle.manifest.c.variants if bundle.manifest.c else ():
            checks.append(_try(f"C source as {variant}", partial(_c_variant, bundle, compiler, golden, variant)))
    return Report(checks)


_Limits = dict[tuple[str, str], float]
"""(graph, output) → largest relative error allowed for a float output; RELATIVE_LIMIT where it is not listed."""
# Operators that divide by a deviation that they compute.
_NORMALISING = (
    "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization", "RMSNormalization", "Sqrt",
)  # fmt: skip
# Operator → matrix products and convolutions in it, as the parity check counts them.
_CONTRACTIONS = {"Gemm": 1, "MatMul": 1, "Conv": 1, "ConvTranspose": 1, "Einsum": 1, "Attention": 2}


class _DiffersError(VaeRuntimeError):
    """This machine computes something else than a golden value."""


def _try(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except VaeRuntimeError as error:
        return Check(name, False, str(error))


def _file(bundle: Bundle, name: str) -> str:
    return f"{len(bundle.read(name)):,} bytes, sha256 as listed"


def _opens(bundle: Bundle, graph: str, precision: str, providers: Sequence[str]) -> str:
    GraphSession(bundle, graph, precision=precision, providers=providers)
    return f"opens, pair id {bundle.manifest.metadata.pair_id}"


def _golden_checks(bundle: Bundle, limits: _Limits, providers: Sequence[str]) -> dict[str, Callable[[Golden], str]]:
    """Name → check, for each graph that the bundle holds in ONNX. limits: as from `_certified_limits`."""
    metadata = bundle.manifest.metadata

    def latents(golden: Golden) -> str:
        labels = (golden["label"],) if "label" in golden else ()
        prior, seed, index = bundle.prior(), int(golden["seed"]), golden["index"]
        if prior is not None and (prior.component(seed, index, *labels) != golden["component"]).any():
            raise _DiffersError("components differ; this processor or NumPy does not compute integers as it should")
        found = prior_latents(prior, seed, index, metadata.latent_dim, *labels)
        if found.tobytes() != golden["latents"].astype(np.float32).tobytes():
            raise _DiffersError("latents differ; this processor or NumPy does not compute IEEE arithmetic")
        return f"{found.size} latents equal to the bit"

    def graph(name: str) -> Callable[[Golden], str]:
        def check(golden: Golden) -> str:
            given, expected = golden_case(golden, name, bundle.manifest)
            found = GraphSession(bundle, name, providers=providers).run(*given)
            if name == "sampler" and not found[0].any() and expected["image"].any():
                raise _DiffersError(
                    "black: this engine computes int64 in 32 bits and cannot draw latents, which vae-sample and "
                    "examples/noise do for decoder.onnx"
                )
            return _compare_outputs(name, found, expected, limits)

        return check

    def sampler(golden: Golden) -> str:
        labels = [None if label < 0 else label for label in golden["label"].tolist()] if "label" in golden else None
        drawn = Sampler(bundle, providers=providers).sample_indices(
            golden["index"], seed=int(golden["seed"]), label=labels
        )
        return _compare(drawn, golden["sampler_image"])

    checks: dict[str, Callable[[Golden], str]] = {"latents": latents}
    present = {name for name, found in bundle.manifest.graphs.items() if PRECISIONS["float32"] in found.files}
    for name in ("decoder", "encoder", "sampler", "reconstructor"):
        if name in present:
            checks[name] = graph(name)
            if name == "decoder":
                checks["vae-sample"] = sampler
    return checks


def _executorch_checks(bundle: Bundle, limits: _Limits) -> dict[str, Callable[[Golden], str]]:
    """Name → check, for each program of ExecuTorch that the bundle holds."""

    def program(name: str, file: str, most: int) -> Callable[[Golden], str]:
        def check(golden: Golden) -> str:
            given, expected = golden_case(golden, name, bundle.manifest)
            few = [array[:most] if array.ndim else array for array in given]
            found = PteProgram(bundle.read(file), file).run("forward", *few)
            return _compare_outputs(name, found, {key: array[:most] for key, array in expected.items()}, limits)

        return check

    record = bundle.manifest.executorch
    if record is None:
        return {}
    return {f"{name} in ExecuTorch": program(name, file, record.largest_batch) for name, file in record.files.items()}


def _c_source(bundle: Bundle, compiler: Sequence[str], golden: Golden, limits: _Limits) -> str:
    """Compile the C source, run its self-test, and compare every function with the golden values."""
    assert bundle.manifest.c is not None
    names = {C_HEADER_NAME: bundle.manifest.c.header, C_SOURCE_NAME: bundle.manifest.c.source}
    library = Library({name: bundle.read(file) for name, file in names.items()}, compiler)
    (z,), images = golden_case(golden, "decoder", bundle.manifest)
    seed, index = int(golden["seed"]), golden["index"]
    labels = golden["label"].tolist() if "label" in golden else [ANY_CLASS] * len(index)
    latents = [library.latents(seed, index[i : i + 1], z.shape[1], label) for i, label in enumerate(labels)]
    if np.concatenate(latents).tobytes() != z.tobytes():
        raise _DiffersError("latents differ")
    shape = golden["sampler_image"].shape[1:]
    pixels = [library.sample(seed, index[i : i + 1], shape, label) for i, label in enumerate(labels)]
    compared: dict[str, tuple[list[npt.NDArray[Any]], Golden]] = {
        "decoder": ([library.decode(z, images["image"].shape[1:])], images),
        "sampler": ([np.concatenate(pixels)], {"image": golden["sampler_image"]}),
    }
    if "encoder_image" in golden:
        (image,), moments = golden_case(golden, "encoder", bundle.manifest)
        (given,), reconstruction = golden_case(golden, "reconstructor", bundle.manifest)
        compared["encoder"] = library.encode(image, z.shape[1]), moments
        compared["reconstructor"] = [library.reconstruct(given)], reconstruction
    details = [f"{name} {_compare_outputs(name, *outputs, limits)}" for name, outputs in compared.items()]
    return f"{library.compiler}: latents equal to the bit; {'; '.join(details)}"


def _c_variant(bundle: Bundle, compiler: Sequence[str], golden: Golden, variant: str) -> str:
    """Compile a source with smaller weights; its self-test has the images of that source at export, to the bit."""
    assert bundle.manifest.c is not None
    name = bundle.manifest.c.variants[variant]
    files = {C_HEADER_NAME: bundle.read(bundle.manifest.c.header), name: bundle.read(name)}
    library = Library(files, compiler, source=name)
    image = golden["decoder_image"]
    error = np.square(library.decode(golden["latents"], image.shape[1:]) - image).mean()
    return (
        f"{library.compiler}: images as at export, to the bit; PSNR of the golden ones {-10 * np.log10(error):.1f} dB"
    )


def _certified_limits(bundle: Bundle) -> _Limits:
    """(graph, output) → the limit that the parity check held that output to, where it is above RELATIVE_LIMIT.

    For images and means the certificate is not taken at its word: `_ceiling` computes from the graph itself what the
    limit may be at most. The limit of a log-variance has no ceiling. Raises BundleError where the certificate cannot be
    read; a bundle without one has no such limits.
    """
    if PARITY_NAME not in bundle.manifest.files:
        return {}
    limits: _Limits = {}
    try:
        for entry in json.loads(bundle.read(PARITY_NAME))["measurements"]:
            key, limit = (entry["graph"], entry["output"]), entry["limit"]
            if entry["measure"] == "relative error" and limit is not None:
                most = _ceiling(bundle, *key) if entry["output"] in HARD_OUTPUTS else float("inf")
                limits[key] = min(most, max(float(limit), limits.get(key, RELATIVE_LIMIT)))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{bundle.folder / PARITY_NAME}: cannot be read as a certificate: {error!r}") from error
    return limits


def _ceiling(bundle: Bundle, name: str, output: str) -> float:
    """Largest relative error allowed for an image or mean, from the graph's products and normalisations."""
    graph = bundle.manifest.graphs.get(name)
    if graph is None or PRECISIONS["float32"] not in graph.files:
        return RELATIVE_LIMIT
    try:
        nodes = read_graph(bundle.read(graph.files[PRECISIONS["float32"]])).nodes
    except (BundleError, ForbiddenError, MalformedError):  # reported where the graph is opened
        return RELATIVE_LIMIT
    normalises = any(node.operator in _NORMALISING for node in nodes)
    return ceiling_of(output, sum(_CONTRACTIONS.get(node.operator, 0) for node in nodes), normalises)


def _compare_outputs(graph: str, found: Sequence[npt.NDArray[Any]], expected: Golden, limits: _Limits) -> str:
    """How far the outputs of a graph are from the golden ones, by name. Raises _DiffersError as `_compare` does."""
    return "; ".join(
        _compare(array, exact, limits.get((graph, name), RELATIVE_LIMIT))
        for array, (name, exact) in zip(found, expected.items(), strict=True)
    )


def _compare(found: npt.NDArray[Any], golden: npt.NDArray[Any], relative_limit: float = RELATIVE_LIMIT) -> str:
    """How far `found` is from `golden`. Raises _DiffersError where that is too far, or where type or shape differ."""
    if found.shape != golden.shape or found.dtype != golden.dtype:
        raise _DiffersError(f"should be {golden.dtype} {golden.shape} but is {found.dtype} {found.shape}")
    difference = np.abs(found.astype(np.float64) - golden)
    if found.dtype == np.uint8:
        worst = float(difference.max(initial=0))
        text, limit = f"at most {worst:.0f} grey level{'s' * (worst != 1)} apart", float(LEVEL_LIMIT)
    else:
        worst = float((difference / np.maximum(1, np.abs(golden))).max(initial=0))
        text, limit = f"largest error {worst:.1e}", relative_limit
    if not worst <= limit:  # also where it is NaN
        raise _DiffersError(f"{text}, more than {limit:g}")
    return text
