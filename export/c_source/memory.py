"""Which tensors of a network share memory, and where each lies."""

from __future__ import annotations

from dataclasses import dataclass

from export.c_source.network import Activation, Combination, Network, Normalization, Scale, Step, sources

_IN_PLACE = (Activation, Scale, Normalization, Combination)


@dataclass(frozen=True)
class Layout:
    """Where the tensors of one image are."""

    places: dict[str, str | int]
    """Tensor → the name of an argument (input or output), or its offset in the working memory, in floats."""
    work: int
    """Floats of working memory for one image."""


def lay_out(network: Network) -> Layout:
    """Steps number by number overwrite what they read if nothing reads it later; the others get memory that is free."""
    slots = _slots(network)
    last = {network.outputs[0]: 0}
    first: dict[str, int] = {}
    for time, step in enumerate(network.steps):
        for name in (*sources(step), step.target):
            first.setdefault(slots[name], time)
            last[slots[name]] = time
    places: dict[str, str | int] = {network.input: network.input, **{name: name for name in network.outputs}}
    for slot in sorted(first, key=lambda slot: -network.sizes[slot]):
        if slot in places:
            continue
        taken = sorted(
            (start, start + network.sizes[other])
            for other, start in places.items()
            if isinstance(start, int) and first[other] <= last[slot] and first[slot] <= last[other]
        )
        offset = 0
        for start, end in taken:
            if start - offset >= network.sizes[slot]:
                break
            offset = max(offset, end)
        places[slot] = offset
    work = max((start + network.sizes[slot] for slot, start in places.items() if isinstance(start, int)), default=0)
    return Layout({name: places[slot] for name, slot in slots.items()}, work)


def _slots(network: Network) -> dict[str, str]:
    """Tensor → the tensor that its memory is named after, an output where there is one in it."""
    slots = {network.input: network.input}
    for time, step in enumerate(network.steps):
        overwrites = isinstance(step, _IN_PLACE) and _is_free(network, step, time)
        slots[step.target] = slots[step.source] if overwrites else step.target
    for output in network.outputs:
        root = slots[output]
        slots = {name: output if slot == root else slot for name, slot in slots.items()}
    return slots


def _is_free(network: Network, step: Step, time: int) -> bool:
    """Whether nothing needs what `step` reads once it is done."""
    read_later = any(step.source in sources(later) for later in network.steps[time + 1 :])
    own = not (isinstance(step, Combination) and step.other == step.source)
    return own and not read_later and step.source not in (network.input, *network.outputs)
