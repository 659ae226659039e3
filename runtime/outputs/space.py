"""Checks before writing that an output fits on its disk."""

import shutil
from pathlib import Path

from runtime.errors import OutputError


def require_space(path: Path, needed: int) -> None:
    """Create the parent folder of `path`, and raise OutputError if its disk has less than `needed` bytes free."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    if needed > free:
        raise OutputError(
            f"{path}: needs {_readable(needed)} but its disk has {_readable(free)} free; "
            "choose a smaller --num, or --shard it over several disks"
        )


def _readable(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
