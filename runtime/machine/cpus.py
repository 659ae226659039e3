"""The number of CPUs that this process may use."""

import math
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def usable_cpus() -> int:
    """CPUs available to this process, given its affinity and the container's quota; at least 1.

    onnxruntime and torch size their thread pools by the host: in a container limited to 2 CPUs on a host with 64, they
    would start 64 threads.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _cgroup_quota() or affinity))


def _cgroup_quota() -> int | None:
    """The container's CPU quota, rounded up; None if there is none."""
    try:
        if _CGROUP_V2.exists():
            quota, period = _CGROUP_V2.read_text().split()
        else:
            quota, period = (file.read_text().strip() for file in _CGROUP_V1)
        return None if quota in ("max", "-1") else math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroup, or not readable: the quota is unknown
        return None
