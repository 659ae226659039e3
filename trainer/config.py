"""`config.toml`: the options of a command in a file, under their own names."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path

from trainer.errors import SettingsError

Value = str | int | float | bool


def read_config(path: Path, known: Collection[str]) -> dict[str, Value]:
    """The options in a TOML file: `batch-size = 64`, and so on, as a flat table.

    known: the names that may stand in it. Raises SettingsError, with the nearest known name, for any other, and for
    files that are missing or no TOML.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{path}: cannot be read: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}") from error
    for key, value in content.items():
        if key not in known:
            nearest = get_close_matches(key, known, n=1, cutoff=0)[0]
            raise SettingsError(f"{path}: there is no option {key!r}; the nearest is {nearest!r}")
        if not isinstance(value, str | int | float | bool):
            raise SettingsError(f"{path}: {key} should be a string, a number, true or false but is {value!r}")
    return content


def to_toml(options: Mapping[str, Value], comment: str) -> str:
    """`options` as TOML, one a line, under a line of comment."""
    # A JSON string, number or boolean is a TOML one too.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items()]
    return "\n".join([f"# {comment}", *lines, ""])
