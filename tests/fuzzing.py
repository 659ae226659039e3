"""What the fuzz tests share: how many inputs, how they are damaged, and what none of them may cost."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# VAE_FUZZ multiplies the number of inputs, for a longer search than a test suite has time for.
EXAMPLES = 60 * int(os.environ.get("VAE_FUZZ", "1"))
MOST_BYTES = 500_000_000
MOST_SECONDS = 120
"""No limit on speed: what takes so long waits for something that never comes, on however busy a machine."""

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def fuzz_settings(examples: int) -> settings:
    """Settings of hypothesis: the same inputs every time, but for a longer search."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize="VAE_FUZZ" not in os.environ,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


fuzz = fuzz_settings(EXAMPLES)
fuzz_a_little = fuzz_settings(EXAMPLES // 4)
"""For what takes a tenth of a second."""

numbers = st.sampled_from([-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 1000, 2**20, 2**31, 2**40, 2**62])


@contextmanager
def contained(*folders: Path) -> Iterator[None]:
    """The block takes no more memory than `MOST_BYTES` and does not hang.

    folders: in which it leaves nothing unfinished, which is what all our hidden files are.
    """

    def hangs(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"still running after {MOST_SECONDS} s")

    hidden = _hidden(folders)
    before = signal.signal(signal.SIGALRM, hangs)
    start = _resident("VmRSS")
    _CLEAR.write_text("5")  # the peak is that of the block from here on
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert _resident("VmHWM") - start < MOST_BYTES
    assert _hidden(folders) <= hidden


def _resident(which: str) -> int:
    match = re.search(rf"{which}:\s+(\d+) kB", _STATUS.read_text())
    assert match is not None
    return 1024 * int(match[1])


def _hidden(folders: tuple[Path, ...]) -> set[Path]:
    return {path for folder in folders for path in folder.rglob(".*")}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a JSON tree."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def replaced(root: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a JSON tree with another value at one of its `places`."""
    if not path:
        return value
    copy = dict(root) if isinstance(root, dict) else list(root)
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """Flip, remove, insert or repeat a few bytes."""
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        size = data.draw(st.integers(0, 40))
        new = data.draw(st.binary(max_size=8) | st.just(content[at : at + size]))
        content = content[:at] + new + content[at + data.draw(st.sampled_from([0, len(new), size, len(content)])) :]
    return content
