"""`--config` and `--resume`: reads options from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from runtime.files.regular import read_text
from trainer.errors import SettingsError

Value = str | int | float | bool
_NOT_WRITTEN = {"cache_dir", "clear_cache", "config", "resume", "runs", "name", "help", "tensorboard"}
"""Options that do not affect the result; a file has none of them."""


def config_callback(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Use the options in the file as defaults; the command line takes precedence."""
    if value is not None:
        _use_as_defaults(ctx, value)
    return value


def resume_callback(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Use the options of the run in that folder as defaults."""
    if value is not None:
        if not (value / "config.toml").is_file():
            raise click.BadParameter(f"{value} is not the folder of a run, it has no config.toml")
        _use_as_defaults(ctx, value / "config.toml")
    return value


def read_config(path: Path, known: Collection[str]) -> dict[str, Value]:
    """The options in a TOML file: `batch-size = 64`, and so on, as a flat table.

    known: the allowed names. Raises SettingsError for any other name, with the nearest known one, and for files that
    are missing or not TOML.
    """
    content = read_toml(path)
    for key, value in content.items():
        if key not in known:
            nearest = get_close_matches(key, known, n=1, cutoff=0)[0]
            raise SettingsError(f"{path}: there is no option {key!r}; the nearest is {nearest!r}")
        if not isinstance(value, str | int | float | bool):
            raise SettingsError(f"{path}: {key} should be a string, a number, true or false but is {value!r}")
    return content


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises SettingsError if it is missing or not TOML."""
    try:
        return tomllib.loads(read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{path}: cannot be read: {reason}") from error
    except (ValueError, RecursionError) as error:  # also of numbers of 5000 digits, and of lists in lists in lists
        raise SettingsError(f"{path}: is not valid TOML: {error}") from error


def _use_as_defaults(ctx: click.Context, path: Path) -> None:
    names = _names(ctx.command)
    try:
        options = read_config(path, names)
    except SettingsError as error:
        raise click.UsageError(str(error), ctx) from error
    ctx.default_map = {names[key]: value for key, value in options.items()}


def _names(command: click.Command) -> dict[str, str]:
    """Name in a file → name in Python, of all options that affect the result of a run."""
    names = [param.name for param in command.params if param.name and param.name not in _NOT_WRITTEN]
    return {name.replace("_", "-"): name for name in names}
