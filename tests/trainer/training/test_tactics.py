"""How threads wait for each other: chosen by what it costs."""

import itertools

from trainer.training.steps.tactics import Tactic, Tactics

PERIOD = 96
QUIET, BUSY = 0.3e-3, 5e-3  # seconds asleep in a period


def after(tactics: Tactics, periods: int, *, asleep: float = BUSY, pace: float = 1e-3) -> list[Tactic]:
    """The tactics of the moment after each of some equal periods. pace: seconds from meeting to meeting."""
    seen = []
    for _ in range(periods):
        tactics.count(PERIOD * pace, asleep, PERIOD)
        seen.append(tactics.tactic)
    return seen


def test_threads_are_patient_on_a_quiet_machine() -> None:
    assert set(after(Tactics(), 100, asleep=QUIET)) == {Tactic.PATIENT}


def test_a_single_busy_period_is_chance() -> None:
    tactics = Tactics()
    for _ in range(20):
        after(tactics, 1)
        assert after(tactics, 1, asleep=QUIET) == [Tactic.PATIENT]


def test_beside_a_busy_process_each_tactic_is_tried_and_the_fastest_kept_for_a_while() -> None:
    for fastest in Tactic:
        tactics = Tactics()
        assert after(tactics, 1) == [Tactic.PATIENT]
        seen = []
        for _ in Tactic:
            seen.append(tactics.tactic)
            after(tactics, 1, pace=1.0e-3 if tactics.tactic is fastest else 1.1e-3)
        assert seen == list(Tactic)
        assert tactics.tactic is fastest
        assert after(tactics, 7, pace=2e-3) == [fastest] * 7


def test_when_the_busy_process_has_ended_threads_become_patient_again() -> None:
    tactics = Tactics()
    after(tactics, 1)
    for _ in Tactic:
        after(tactics, 1, pace=0.5e-3 if tactics.tactic is Tactic.ALONE else 1e-3)
    assert after(tactics, 8, asleep=QUIET) == [Tactic.ALONE] * 7 + [Tactic.PATIENT]
    assert set(after(tactics, 50, asleep=QUIET)) == {Tactic.PATIENT}


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
        tactics.count(3e-3, 0.3e-3, 3)
        seen.append(tactics.tactic)
    assert seen == [Tactic.PATIENT] * (len(seen) - 1) + [Tactic.HASTY]
    tactics.count(0.5, 0.0, 10 * PERIOD)
    assert tactics.tactic is Tactic.ALONE


def test_where_steps_take_long_small_differences_between_threads_are_no_busy_process() -> None:
    tactics = Tactics()
    for _ in range(50):
        tactics.count(0.6, 0.008, 12)  # each thread sleeps for 1 % of phases of 50 ms
        assert tactics.tactic is Tactic.PATIENT
