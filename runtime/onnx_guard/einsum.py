"""Einsum of one or two operands: its output, and what it multiplies on the way."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from runtime.onnx_guard.call import Call, Shape

_EQUATION = re.compile(r"[A-Za-z.,]+(->[A-Za-z.]*)?")
_REST = "..."


def read_einsum(call: Call) -> tuple[Shape, int]:
    """The shape of the output, and the number of multiplications.

    As in ONNX, a letter of size 1 in one operand is broadcast. Raises ValueError where equation and inputs do not fit,
    or there are more than two inputs. More than two are multiplied pair by pair, in an order that the
    engine chooses: no size of what lies between them would be certain.
    """
    equation = str(call.attribute("equation", "")).replace(" ", "")
    if not _EQUATION.fullmatch(equation):
        raise ValueError(f"the equation {equation!r}")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not 1 <= len(terms) == len(call.inputs) <= 2:
        raise ValueError(f"{len(call.inputs)} inputs for {equation!r}")
    sizes: dict[str, int] = {}
    rest: Shape = ()
    for i, term in enumerate(terms):
        rest = np.broadcast_shapes(rest, _measure(term, call.shape(i), sizes))
    if not arrow:
        counts = Counter(left.replace(_REST, "").replace(",", ""))
        right = _REST * (_REST in left) + "".join(sorted(letter for letter, count in counts.items() if count == 1))
    letters = right.replace(_REST, "", 1)
    if len(set(letters)) != len(letters) or not set(letters) <= set(sizes):
        raise ValueError(f"the output {right!r}")
    before, marked, after = right.partition(_REST)
    shape = (*_sizes(before, sizes), *(rest if marked else ()), *_sizes(after, sizes))
    return shape, math.prod(sizes.values()) * math.prod(rest)


def _measure(term: str, shape: Shape, sizes: dict[str, int]) -> Shape:
    """Note the sizes of the letters of a term; returns those of its `...`."""
    before, marked, after = term.partition(_REST)
    if "." in before + after or (not marked and len(before) != len(shape)) or len(before + after) > len(shape):
        raise ValueError(f"{term!r} for the shape {shape}")
    middle = shape[len(before) : len(shape) - len(after)]
    for letter, size in zip(before + after, shape[: len(before)] + shape[len(before) + len(middle) :], strict=True):
        known = sizes.setdefault(letter, size)
        if known != size and 1 not in (known, size):
            raise ValueError(f"{letter!r} is {known} and {size}")
        sizes[letter] = max(known, size)
    return middle


def _sizes(letters: str, sizes: dict[str, int]) -> Sequence[int]:
    return [sizes[letter] for letter in letters]
