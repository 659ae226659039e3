"""The `config.toml` of a run: all options that repeat it, from any folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

import torch

from trainer.data.dataset import DataSource
from trainer.settings import Settings
from trainer.training.execution import Execution

Value = str | int | float | bool


def config_text(settings: Settings, source: DataSource, execution: Execution, prior: str) -> str:
    """The text of a `config.toml` that repeats a run: the names are those of the options of `vae-train`."""
    on_cpu = execution.device.type == "cpu"
    values = {
        "preset": settings.preset,
        **asdict(source),
        **asdict(settings),
        "clip_norm": settings.clip_norm or 0,  # an absent value would fall back to the preset
        "device": execution.device.type,
        "threads": torch.get_num_threads() if on_cpu else None,
        "graph": execution.graph,
        "prior": prior,
    }
    values["channels"] = None if source.channels is None else str(source.channels)
    options = {name.replace("_", "-"): _to_value(value) for name, value in values.items() if value is not None}
    processes = execution.team.world_size
    program = "vae-train" if processes == 1 else f"torchrun -m trainer in {processes} processes with"
    return to_toml(options, f"{program} --config FILE repeats this run, on the same machine bit for bit.")


def to_toml(options: Mapping[str, Value], comment: str) -> str:
    """`options` as TOML, one per line, after a comment line."""
    # A JSON string, number or boolean is a TOML one too.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items()]
    return "\n".join([f"# {comment}", *lines, ""])


def _to_value(value: object) -> Value:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    assert isinstance(value, str | int | float | bool)  # a setting of another type has no option
    return value
