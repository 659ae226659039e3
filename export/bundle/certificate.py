"""The certificate of a parity check: `parity.json` for machines, a table for people."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from export.checks.parity import (
    BATCHES,
    DIFFERING,
    EAGER_FACTOR,
    HARD_LIMIT,
    HARD_OUTPUTS,
    LEVELS,
    PIXEL_LIMIT,
    SMALLEST_LIMIT,
    Measurement,
)

PARITY_NAME = "parity.json"


def certificate(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """What `parity.json` holds: the rule, the figures, and where they were measured."""
    return {
        "rule": {
            "reference": "the model in PyTorch float64, its noise from NumPy",
            "relative error": "|x - reference| / max(1, |reference|), largest over values, inputs and batches",
            "eager_factor": EAGER_FACTOR,
            "smallest_limit": SMALLEST_LIMIT,
            "hard_limit": dict.fromkeys(HARD_OUTPUTS, HARD_LIMIT),
            "pixel_limit": PIXEL_LIMIT,
            "latents": "equal to the bit",
            "batches": list(BATCHES),
        },
        "measurements": [
            {
                "graph": entry.graph,
                "engine": entry.engine,
                "output": entry.output,
                "inputs": entry.inputs,
                "measure": entry.measure,
                "max_error": float(f"{entry.max_error:.3g}"),
                "limit": float(f"{entry.limit:.3g}") if np.isfinite(entry.limit) else None,
            }
            for entry in measurements
        ],
        "measured_with": {
            "torch": str(torch.__version__),
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        },
    }


def table(measurements: Sequence[Measurement]) -> list[list[str]]:
    """Rows of cells, the first two being headings: an engine a row, an output of a graph a column.

    A cell is the largest error over all kinds of input: relative for numbers, "identical" for equal bits, grey levels
    for pixels, whose column says so.
    """
    outputs = list(dict.fromkeys((entry.graph, entry.output) for entry in measurements))
    engines = list(dict.fromkeys(entry.engine for entry in measurements))
    pixels = {(entry.graph, entry.output) for entry in measurements if entry.measure == LEVELS}
    rows = [
        ["", *(graph for graph, _ in outputs)],
        ["engine", *("levels" if output in pixels else output[1] for output in outputs)],
    ]
    for engine in engines:
        cells = [engine]
        for output in outputs:
            entries = [entry for entry in measurements if (entry.graph, entry.output) == output]
            cells.append(_cell([entry for entry in entries if entry.engine == engine]))
        rows.append(cells)
    return rows


def as_text(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns as wide as they need to be, two spaces apart; all but the first aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def as_markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table with one heading row, made of the first two."""
    graphs, outputs, *body = rows
    heading = [f"{graph} {output}".strip() for graph, output in zip(graphs, outputs, strict=True)]
    rule = ["---", *("---:" for _ in heading[1:])]
    return [f"| {' | '.join(row)} |" for row in (heading, rule, *body)]


def _cell(entries: Sequence[Measurement]) -> str:
    if not entries:
        return "–"
    worst = max(entry.max_error for entry in entries)
    if entries[0].measure == LEVELS:
        return f"{worst:.0f}"
    if entries[0].measure == DIFFERING:
        return "identical" if worst == 0 else f"{worst:.0f} differ"
    return f"{worst:.1e}"
