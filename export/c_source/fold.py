"""Constant steps folded into the layer before them, in float64, and steps that nothing reads left out."""

from __future__ import annotations

import dataclasses

import numpy as np

from export.c_source.network import Convolution, Linear, Network, Reorder, Scale, Step, sources


def fold(network: Network) -> Network:
    """The same network with fewer steps: batch normalisation and changes of order become part of the weights."""
    steps = _without_unread(network)
    while (shorter := _fold_once(network, steps)) is not None:
        steps = shorter
    return dataclasses.replace(network, steps=tuple(steps))


def _without_unread(network: Network) -> list[Step]:
    needed = set(network.outputs)
    kept: list[Step] = []
    for step in reversed(network.steps):
        if step.target in needed:
            kept.append(step)
            needed.update(sources(step))
    return kept[::-1]


def _fold_once(network: Network, steps: list[Step]) -> list[Step] | None:
    """One pair of steps made one; None where there is no such pair."""
    makers = {step.target: step for step in steps}
    readers = [name for step in steps for name in sources(step)]
    for step in steps:
        maker = makers.get(step.source)
        alone = readers.count(step.source) == 1 and step.source not in network.outputs
        if alone and isinstance(maker, Linear | Convolution | Scale | Reorder):
            folded = _folded(maker, step)
            if folded is not None:
                return [folded if kept is maker else kept for kept in steps if kept is not step]
    return None


def _folded(maker: Linear | Convolution | Scale | Reorder, step: Step) -> Step | None:
    if isinstance(maker, Reorder):
        if isinstance(step, Reorder):
            return dataclasses.replace(maker, target=step.target, order=maker.order[step.order])
        return None
    if isinstance(maker, Scale):
        if isinstance(step, Scale) and len(step.scale) == len(maker.scale):
            shift = maker.shift * step.scale + step.shift
            return dataclasses.replace(maker, target=step.target, scale=maker.scale * step.scale, shift=shift)
        return None
    if isinstance(step, Scale):
        repeats = len(maker.bias) // len(step.scale)  # channels are the inner axis of what a linear layer gives
        scale, shift = np.tile(step.scale, repeats), np.tile(step.shift, repeats)
        return dataclasses.replace(
            maker, target=step.target, weight=maker.weight * scale, bias=maker.bias * scale + shift
        )
    if isinstance(step, Reorder) and isinstance(maker, Linear):
        return dataclasses.replace(
            maker, target=step.target, weight=maker.weight[:, step.order], bias=maker.bias[step.order]
        )
    return None
