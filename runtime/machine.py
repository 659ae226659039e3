"""What this machine is and which versions run on it, for records and reports: no names, no paths."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_TELLING_FEATURES = ("avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")


def versions() -> dict[str, str]:
    """Versions of Python and of what the runtime computes with."""
    names = ("vae-toolchain", "numpy", "onnxruntime", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def cpu() -> dict[str, str | list[str]]:
    """Architecture, model and the vector instructions that decide how matrix products are summed."""
    fields = _cpuinfo()
    present = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "architecture": platform.machine(),
        "model": fields.get("model name") or platform.processor() or "unknown",
        "features": [feature for feature in _TELLING_FEATURES if feature in present],
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor's fields of /proc/cpuinfo; empty on other systems than Linux."""
    if not _CPUINFO.exists():
        return {}
    first = _CPUINFO.read_text(errors="replace").split("\n\n")[0]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
