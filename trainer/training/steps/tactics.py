"""How the threads of a training step wait for each other, chosen by what it costs while the step runs.

A thread that comes first to a meeting polls for the others, and then sleeps in between. On a quiet machine it should
poll for long: each sleep makes it the late one of the next phase, which on two cores of an Intel Xeon costs an eighth
of the speed. Beside a busy process it should soon leave its processor to the thread that has none. And where two
threads have two processors, of which another process takes one, a single thread may be as fast as both.

The two machines are told apart by how long threads sleep in spite of long polling: at a meeting on the quiet Xeon 3 µs
on average, beside a spinning process 50.
"""

from __future__ import annotations

from enum import Enum, auto

_PERIOD, _PERIOD_SECONDS = 96, 0.5  # as many meetings are judged together, or those of so long a time
_ASLEEP_IF_BUSY = 25e-6  # seconds at a meeting, on average,
_SHARE_IF_BUSY = 0.015  # and this share of the time: where steps take long, so do small differences between threads
_REST_FROM, _REST_TO = 8, 32  # periods between two trials


class Tactic(Enum):
    """How threads wait."""

    PATIENT = auto()
    """They poll for up to half a millisecond before they sleep."""
    HASTY = auto()
    """They poll for up to a tenth of a millisecond."""
    ALONE = auto()
    """They do not: one thread does the work of all."""


class Tactics:
    """The tactic of the moment. Nothing but time depends on it.

    PATIENT until two periods in a row were busy; then each tactic is tried for a period, and the fastest is kept until
    the next trial.
    """

    def __init__(self) -> None:
        self.tactic = Tactic.PATIENT
        self._seconds, self._asleep, self._meetings = 0.0, 0.0, 0  # of this period
        self._paces: dict[Tactic, float] = {}  # seconds a meeting, of those that were tried
        self._suspects = False  # the last patient period was busy
        self._rest = _REST_FROM
        self._periods = 0  # until the next trial

    def count(self, seconds: float, asleep: float, meetings: int) -> None:
        """Some steps by this tactic. seconds: that they took. asleep: those that one thread meant to sleep, at most."""
        self._seconds += seconds
        self._asleep += asleep
        self._meetings += meetings
        if self._meetings < _PERIOD and self._seconds < _PERIOD_SECONDS:
            return
        pace = self._seconds / self._meetings
        is_busy = self._asleep > max(_ASLEEP_IF_BUSY * self._meetings, _SHARE_IF_BUSY * self._seconds)
        self._seconds, self._asleep, self._meetings = 0.0, 0.0, 0
        if self._periods > 0:
            self._periods -= 1
            if self._periods == 0:
                self.tactic = Tactic.PATIENT
        elif self.tactic is Tactic.PATIENT and not (is_busy and self._suspects):
            self._suspects = is_busy
            if not is_busy:
                self._rest = _REST_FROM
        else:
            self._try_next(pace)

    def _try_next(self, pace: float) -> None:
        """After a period of a trial: the next tactic, or the fastest of all if this was the last one."""
        self._paces[self.tactic] = pace
        untried = [tactic for tactic in Tactic if tactic not in self._paces]
        if untried:
            self.tactic = untried[0]
        else:
            self.tactic = min(self._paces, key=lambda tactic: self._paces[tactic])
            self._paces.clear()
            self._periods, self._rest = self._rest, min(2 * self._rest, _REST_TO)
