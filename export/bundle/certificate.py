"""The result of a parity check: `parity.json` for machines, a table for people."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from export.checks.cost import Cost
from export.checks.parity import (
    DIFFERING,
    FACTOR,
    LEVELS,
    SMALLEST_LIMIT,
    ParityMeasurement,
    within,
)
from export.checks.variants import SMALLEST_PSNR_DB, VariantReport
from runtime.manifest import (
    CONTRACTIONS_OF_SHALLOW,
    DEEP_LEVEL_LIMIT,
    DEEP_LIMITS,
    HARD_OUTPUTS,
    LEVEL_LIMIT,
    RELATIVE_LIMIT,
)


def certificate(
    measurements: Sequence[ParityMeasurement],
    cost: Cost,
    largest_batch: int | None,
    c_checked_by: str | None = None,
    variants: Mapping[str, VariantReport] | None = None,
) -> dict[str, Any]:
    """The content of `parity.json`: the rule, the measurements, and the versions and CPU they were made with.

    c_checked_by: the compiler that made the C source a program, or what stood in for one. variants: what smaller
    files lose w.r.t. float32 in the same engine, which the limits do not apply to.
    """
    batches, interpreted = (within(found, largest_batch) for found in (cost.batches, cost.interpreted_batches))
    return {
        "rule": {
            "reference": "the model in PyTorch float64, its noise from NumPy",
            "relative error": "|x - reference| / max(1, |reference|), largest over values, inputs and batches",
            "unit": "the larger of eager PyTorch's error and that derived for float32 sums with one accumulator",
            "factor": FACTOR,
            "smallest_limit": SMALLEST_LIMIT,
            "hard_limit": dict.fromkeys(HARD_OUTPUTS, RELATIVE_LIMIT),
            "hard_limit_of_deep_graphs": DEEP_LIMITS,
            "deep": f"more than {CONTRACTIONS_OF_SHALLOW} matrix products and convolutions, or a normalisation",
            "pixel_limit": LEVEL_LIMIT,
            "pixel_limit_of_deep_graphs": DEEP_LEVEL_LIMIT,
            "latents": "equal to the bit",
            "batches": list(batches),
            "batches_of_onnx_reference": list(interpreted),
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
        **({"variants": {name: _losses(report) for name, report in variants.items()}} if variants else {}),
        "measured_with": {
            "torch": str(torch.__version__),
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "machine": platform.machine(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            **({"c": c_checked_by} if c_checked_by else {}),
        },
    }


def _losses(report: VariantReport) -> dict[str, Any]:
    elbo = report.elbo_loss_nats
    return {
        "bytes": report.bytes,
        "float32_bytes": report.float_bytes,
        "psnr_db": float(f"{report.psnr_db:.3g}"),
        "smallest_psnr_db": SMALLEST_PSNR_DB,
        **({} if elbo is None else {"elbo_loss_nats": float(f"{elbo:.3f}")}),
    }


_COLUMNS = 80  # of a terminal
_SHORT = {"identical": "same", "reconstructor": "reconstr."}  # on a terminal


def table(measurements: Sequence[ParityMeasurement]) -> list[list[str]]:
    """A table of text cells: one row per engine, one column per output of a graph, below two rows of headings.

    A cell is the maximum error over all inputs: the relative error for floats, grey levels for pixels (their column is
    called "levels"), and "identical" or the number of differing values for latents.
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
    """Lines of text; the first column is aligned left, the others right.

    Columns are two spaces apart, or one where the lines would be longer than 80 columns, and long words are shortened.
    """
    rows = [[_SHORT.get(cell, cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) <= _COLUMNS + 2 else " "
    return [
        gap.join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def as_markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; the first two rows become its one heading row."""
    graphs, outputs, *body = rows
    heading = [f"{graph} {output}".strip() for graph, output in zip(graphs, outputs, strict=True)]
    rule = ["---", *("---:" for _ in heading[1:])]
    return [f"| {' | '.join(row)} |" for row in (heading, rule, *body)]


def _cell(entries: Sequence[ParityMeasurement]) -> str:
    if not entries:
        return "–"
    worst = max(entry.max_error for entry in entries)
    if entries[0].measure == LEVELS:
        return f"{worst:.0f}"
    if entries[0].measure == DIFFERING:
        return "identical" if worst == 0 else f"{worst:.0f} differ"
    return f"{worst:.1e}"
