"""Checks before writing that an output fits on its disk."""

import shutil
from pathlib import Path

from runtime.errors import OutputError
from runtime.machine.memory import readable


def require_space(path: Path, needed: int) -> None:
    """Create the parent folder of `path`, and raise OutputError if its disk has less than `needed` bytes free."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    if needed > free:
        raise OutputError(
            f"{path}: needs {readable(needed)} but its disk has {readable(free)} free; "
            "choose a smaller --num, or --shard it over several disks"
        )
