"""CPU and package versions of this machine, for records and reports; without host names or paths."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_TELLING_FEATURES = ("avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the runtime uses."""
    import onnxruntime  # whose builds for other processors are distributions of other names

    names = ("vae-toolchain", "numpy", "pillow")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "onnxruntime": onnxruntime.__version__,
    }


def cpu() -> dict[str, str | list[str]]:
    """Architecture, model and vector instruction sets; the last determine the summation order of matrix products."""
    fields = _cpuinfo()
    present = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "architecture": platform.machine(),
        "model": fields.get("model name") or platform.processor() or "unknown",
        "features": [feature for feature in _TELLING_FEATURES if feature in present],
    }


def _cpuinfo() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; empty on systems without it."""
    if not _CPUINFO.exists():
        return {}
    first = _CPUINFO.read_text(errors="replace").split("\n\n")[0]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
