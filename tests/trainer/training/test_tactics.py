"""How threads wait for each other: chosen by what it costs."""

import itertools

from trainer.training.steps.tactics import Tactic, Tactics

PERIOD = 96
QUIET, BUSY = 3, 48  # naps in a period


def after(tactics: Tactics, periods: int, *, naps: int = BUSY, pace: float = 1.0) -> list[Tactic]:
    """The tactics of the moment after each of some equal periods."""
    seen = []
    for _ in range(periods):
        tactics.count(PERIOD * pace, PERIOD, naps)
        seen.append(tactics.tactic)
    return seen


def test_threads_are_patient_on_a_quiet_machine() -> None:
    assert set(after(Tactics(), 100, naps=QUIET)) == {Tactic.PATIENT}


def test_a_single_busy_period_is_chance() -> None:
    tactics = Tactics()
    for _ in range(20):
        after(tactics, 1)
        assert after(tactics, 1, naps=QUIET) == [Tactic.PATIENT]


def test_beside_a_busy_process_each_tactic_is_tried_and_the_fastest_kept_for_a_while() -> None:
    for fastest in Tactic:
        tactics = Tactics()
        assert after(tactics, 1) == [Tactic.PATIENT]
        seen = []
        for _ in Tactic:
            seen.append(tactics.tactic)
            after(tactics, 1, pace=1.0 if tactics.tactic is fastest else 1.1)
        assert seen == list(Tactic)
        assert tactics.tactic is fastest
        assert after(tactics, 7, pace=2.0) == [fastest] * 7


def test_when_the_busy_process_has_ended_threads_become_patient_again() -> None:
    tactics = Tactics()
    after(tactics, 2)
    assert after(tactics, 2 + 8, naps=QUIET)[-1] is Tactic.PATIENT
    assert set(after(tactics, 50, naps=QUIET)) == {Tactic.PATIENT}


def test_the_longer_the_machine_is_busy_the_rarer_are_trials() -> None:
    tactics = Tactics()
    after(tactics, 1)
    seen = [tactics.tactic, *after(tactics, 200)]
    trials = [i for i, tactic in enumerate(seen) if tactic is Tactic.HASTY]
    rests = [later - earlier - len(Tactic) for earlier, later in itertools.pairwise(trials)]
    assert rests[:4] == [8, 16, 32, 32]


def test_periods_are_of_meetings_however_many_come_at_once() -> None:
    tactics, seen = Tactics(), []
    for _ in range(2 * PERIOD // 3):
        tactics.count(1.0, 3, 3)
        seen.append(tactics.tactic)
    assert seen == [Tactic.PATIENT] * (len(seen) - 1) + [Tactic.HASTY]
