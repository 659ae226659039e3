"""Reads and validates fields of `manifest.json`. Every function raises BundleError, naming the field."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from runtime.errors import BundleError
from runtime.manifest.contract import MANIFEST_NAME

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST_LEVELS = 64
_T = TypeVar("_T")


def parse(text: bytes) -> dict[str, Any]:
    """Parse the JSON object in `text`. Values that could not be written back as JSON are errors."""

    def refuse_constant(constant: str) -> None:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        root = json.loads(text.decode("utf-8"), parse_constant=refuse_constant)
        # The parser accepts an escaped lone surrogate and 1e999, but neither can be written back.
        json.dumps(root, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise BundleError(f"{MANIFEST_NAME}: not valid JSON in UTF-8: {error}") from error
    if not isinstance(root, dict):
        raise BundleError(f"{MANIFEST_NAME}: should hold an object but holds {kind(root)}")
    if not _is_shallow(root):
        raise BundleError(f"{MANIFEST_NAME}: is nested more than {_MOST_LEVELS} deep")
    return root


def _is_shallow(root: dict[str, Any]) -> bool:
    """Whether objects and arrays lie within each other at most so deep that Python's own recursion copes."""
    level: list[Any] = [root]
    for _ in range(_MOST_LEVELS):
        level = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]
        level = [value for value in level if isinstance(value, dict | list)]
        if not level:
            return True
    return False


def take(content: dict[str, Any], key: str, of: type[_T], *, where: str = "") -> _T:
    """content[key], checked to be of type `of`. where: its place in the file, for the message."""
    value = content.get(key)
    if not isinstance(value, of):
        found = "is missing" if key not in content else f"is {kind(value)}"
        raise BundleError(f"{MANIFEST_NAME}: {where or key} should be {_KIND_NAMES[of]} but {found}")
    return value


def integer(value: object, where: str, lowest: int, highest: int) -> int:
    """`value`, checked to be an integer from `lowest` to `highest`."""
    if type(value) is not int or not lowest <= value <= highest:
        raise BundleError(f"{MANIFEST_NAME}: {where} should be an integer from {lowest} to {highest} but is {value!r}")
    return value


def plain_name(name: object, where: str) -> str:
    """`name`, checked to be a plain file name: ASCII letters, digits, `.`, `_`, `-`; no path, not hidden."""
    if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
        raise BundleError(f"{MANIFEST_NAME}: {where} should hold plain names but holds {name!r}")
    return name


_KIND_NAMES: dict[type, str] = {dict: "an object", list: "an array", str: "a string"}


def kind(value: object) -> str:
    """The JSON type of `value` with its article, for messages."""
    return _KIND_NAMES.get(type(value), repr(value))
