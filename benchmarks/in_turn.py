"""Seconds of several calls, each in its turn, so that a change of the machine's speed meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def seconds_in_turn(
    calls: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: int = 0, settle_s: float = 0.0
) -> dict[str, list[float]]:
    """Name → seconds of each of `rounds` calls.

    warm_up: rounds before them that do not count. settle_s: pause before each call, so that threads of the one before
    it have ended.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(warm_up + rounds):
        for name, call in calls.items():
            time.sleep(settle_s)
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: values[warm_up:] for name, values in seconds.items()}
