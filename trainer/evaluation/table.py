"""Formats an evaluation as a text table of at most 80 columns."""

from __future__ import annotations

from runtime.text import printable
from trainer.evaluation.elbo import ElboTerms
from trainer.evaluation.evaluate import Evaluation
from trainer.objective.active import ACTIVE_KL_NATS, ACTIVE_VARIANCE

_NORMAL = "N(0, I)"


def as_table(found: Evaluation) -> str:
    """The evaluation as text."""
    lines = [
        f"model     {found.model}, {found.parameters:,} parameters, after epoch {found.epoch}",
        f"trained   on {found.trained_on}",
        f"data      {found.data}, sha256 {found.data_sha256[:8]}…",
        "",
        *_bounds(found),
        "",
        *_latents(found),
        "",
        *_classes(found),
        *_samples(found),
    ]
    return "\n".join(lines)


def _bounds(found: Evaluation) -> list[str]:
    """Floor, excess, KL, and NLL for each k: one column per protocol."""
    protocols = found.protocols.values()
    kind = next(iter(found.protocols))
    first = next(iter(protocols)).nll
    rows: list[tuple[str, list[float | None]]] = [
        ("floor: entropy of the pixels", [p.elbo.total.floor for p in protocols]),
        ("excess of the reconstruction", [_excess(p.elbo.total) for p in protocols]),
        ("KL to the prior", [p.elbo.total.kl for p in protocols]),
        ("negative ELBO, the sum", [p.elbo.total.negative_elbo for p in protocols]),
    ]
    for k in first.curve:
        if k > 1:
            rows.append((f"NLL by k = {k} samples", [p.nll.curve[k] for p in protocols]))
    rows += [
        ("  ± standard error over images", [p.nll.standard_error for p in protocols]),
        (f"  effective samples of {first.k}", [p.nll.effective_samples for p in protocols]),
    ]
    if found.likelihood != "bernoulli":
        rows[0] = ("floor", rows[0][1])
    seconds = sum(p.nll.seconds for p in protocols)
    lines = [
        f"{f'{first.images:,} test images, nats per image':40}" + "".join(f"{name:>12}" for name in found.protocols)
    ]
    lines += [f"  {name:38}" + "".join(_number(value) for value in values) for name, values in rows]
    if len(found.protocols) > 1:
        lines += [
            f"{kind.capitalize()} and binarised images are different data: do not compare across columns.",
            f"{kind.capitalize()} is a bound for images binarised at random, no likelihood of {kind} ones.",
        ]
    part = "" if first.images_with_k == first.images else f"; {first.images_with_k:,} images had all k, the rest 50"
    return [*lines, f"NLL took {seconds:.0f} s{part}"]


def _latents(found: Evaluation) -> list[str]:
    elbo = next(iter(found.protocols.values())).elbo
    dimensions, active = len(elbo.kl_per_dimension), elbo.active_by_variance
    kl = " ".join(f"{value:.2f}" for value in sorted(elbo.kl_per_dimension, reverse=True))
    lines = [
        f"active    {active} of {dimensions} latents by variance of the posterior mean > {ACTIVE_VARIANCE:g}",
        f"          {elbo.active_by_kl} of {dimensions} by KL > {ACTIVE_KL_NATS:g} nat; KL of each, nats, sorted:",
    ]
    width, words = 70, kl.split()
    while words:
        line = ""
        while words and len(line) + len(words[0]) < width:
            line += words.pop(0) + " "
        lines.append(f"          {line.rstrip()}")
    return lines


def _classes(found: Evaluation) -> list[str]:
    name, protocol = next(iter(found.protocols.items()))
    if not protocol.elbo.by_class:
        return ["classes   none: the data has no labels", ""]
    lines = [f"{f'by class, {name}':22}images     floor    excess        KL       sum"]
    for label, terms in protocol.elbo.by_class.items():
        floor = _number(terms.floor, 10)
        lines.append(
            f"  {_class_name(label, found.class_names):18}{terms.images:8,}{floor}{_number(_excess(terms), 10)}"
            f"{terms.kl:10.2f}{terms.negative_elbo:10.2f}"
        )
    return [*lines, ""]


def _samples(found: Evaluation) -> list[str]:
    quality, verdict = found.sample_quality, found.sample_quality.verdict
    lines = [
        f"{f'{quality.samples:,} samples from a {found.prior}'.replace('a N(', 'N('):40}     samples   real test",
        *([] if found.temperature == 1 else [f"  {'factor on their noise, --temperature':38}{found.temperature:12g}"]),
        f"  {'distance to nearest training image':38}{quality.distance:12.2f}{quality.real_distance:12.2f}",
        f"  {'  reconstructions of test images':38}{quality.reconstruction_distance:12.2f}",
        f"  {'  reconstructions of training images':38}{quality.copy_distance:12.2f}",
        f"  {'smallest of these distances':38}{quality.nearest:12.2f}",
    ]
    if quality.copies:
        lines += ["WARNING: samples lie as near to training images as reconstructions of those", "do: many are copies."]
    if verdict is None:
        return [*lines, "no labels, hence no classifier: no class histogram, no confidence, no FID"]
    fitted = found.prior != _NORMAL
    kinds = ("N(0, I)", "mixture" if fitted else "samples", "reconstr.", "real test")
    drawn = verdict.fid if fitted or found.temperature != 1 else None
    lines += [
        f"  {'mean confidence of the classifier':38}{verdict.confidence:12.3f}{verdict.real_confidence:12.3f}",
        *(
            []
            if verdict.agreement is None
            else [f"  {'seen as the class that was drawn':38}{verdict.agreement:12.1%}{verdict.accuracy:12.1%}"]
        ),
        f"  {'FID in its features':26}" + "".join(f"{name:>12}" for name in kinds),
        " " * 28 + "".join(map(_number, (verdict.normal_fid, drawn, verdict.reconstruction_fid, verdict.real_fid))),
        "  share of each class",
        *(
            f"    {_class_name(label, found.class_names):36}{share:12.1%}{verdict.real_histogram[label]:12.1%}"
            for label, share in verdict.histogram.items()
        ),
        f"The classifier gets {verdict.accuracy:.2%} of the real test images right. FID and shares are",
        "its opinion: they compare with other models on the same data only.",
    ]
    return lines


def _excess(terms: ElboTerms) -> float:
    return terms.reconstruction - (terms.floor or 0.0)


def _number(value: float | None, width: int = 12) -> str:
    return f"{'none' if value is None else format(value, '.2f'):>{width}}"


def _class_name(label: int, class_names: tuple[str, ...] | None) -> str:
    return str(label) if class_names is None else printable(class_names[label])
