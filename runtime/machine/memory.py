"""How much memory this process may still take, asked before something large is made."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def available_bytes() -> int | None:
    """What the system, and the container that this process is in, can still give; None where neither says."""
    known = [size for size in (_of_system(), _of_container()) if size is not None]
    return min(known) if known else None


def shortage(needed: float) -> str | None:
    """None where `needed` bytes can be had; otherwise how much that is and how much there is, for a message."""
    available = available_bytes()
    if available is None or needed <= available:
        return None
    return f"about {readable(needed)} of memory, but {readable(available)} are available here"


def readable(size: float) -> str:
    """Bytes as in 3.4 GB."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


def _of_system() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    except (OSError, ValueError, IndexError):  # no Linux
        return None


def _of_container() -> int | None:
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no container, or one without a limit, which is called "max"
        return None
    return max(0, limit - used + int(statistics.get("inactive_file", 0)))  # the cache of files gives way
