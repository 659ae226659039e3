"""Threads that share the tasks of a training step."""

import gc
import os
import signal
import threading
import time
import weakref

import pytest
import torch

from trainer.training.steps.workers import Workers


@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_task_is_done_once_before_the_call_returns(count: int) -> None:
    workers = Workers(count)
    for tasks in (0, 1, 2, 7):
        done: list[int] = []
        workers.for_each(done.append, tasks)
        assert sorted(done) == list(range(tasks))


def test_tasks_run_side_by_side_with_one_thread_of_torch_each() -> None:
    workers, both_are_here, seen = Workers(2), threading.Barrier(2), []
    before = torch.get_num_threads()

    def task(i: int) -> None:
        both_are_here.wait(timeout=10)
        seen.append(torch.get_num_threads())

    workers.for_each(task, 2)
    assert seen == [1, 1]
    assert torch.get_num_threads() == before


def test_an_error_in_any_thread_is_raised_when_the_others_have_ended() -> None:
    workers, both_are_here, ended = Workers(2), threading.Barrier(2), []

    def task(i: int) -> None:
        both_are_here.wait(timeout=10)
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("in a thread")
        ended.append(i)

    with pytest.raises(ValueError, match="in a thread"):
        workers.for_each(task, 2)
    assert len(ended) == 1
    workers.for_each(ended.append, 3)
    assert len(ended) == 4


def test_after_an_interrupt_no_task_is_left_running() -> None:
    workers, ended = Workers(2), []

    def task(i: int) -> None:
        if threading.current_thread() is threading.main_thread():
            time.sleep(0.2)  # for the other one to begin
            return
        time.sleep(0.4)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        ended.append(i)

    with pytest.raises(KeyboardInterrupt):
        workers.for_each(task, 2)
    assert len(ended) == 1


def test_workers_that_nobody_needs_end_their_threads() -> None:
    gc.collect()  # those of other tests
    before = threading.active_count()
    workers = Workers(3)
    assert threading.active_count() == before + 2
    gone = weakref.ref(workers)
    del workers
    gc.collect()
    assert gone() is None
    assert threading.active_count() == before


def test_after_a_thread_was_late_the_caller_does_the_next_jobs_alone() -> None:
    workers, both_are_here = Workers(2), threading.Barrier(2)

    def task(i: int) -> None:
        both_are_here.wait(timeout=10)
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.2)

    workers.for_each(task, 2)
    callers: list[threading.Thread] = []

    def note(i: int) -> None:
        time.sleep(0.02)  # in which another thread would take the second task
        callers.append(threading.current_thread())

    for _ in range(8):
        workers.for_each(note, 2)
    assert set(callers) == {threading.main_thread()}
    workers.for_each(task, 2)  # shared again: alone, it would wait at the barrier in vain


@pytest.mark.parametrize("count", [1, 2])
def test_denormal_numbers_are_zero_in_tasks_and_nowhere_else(count: int) -> None:
    workers, all_are_here, seen = Workers(count), threading.Barrier(count), []

    def denormal() -> float:
        return torch.full((), 1e-30).mul_(1e-10).item()

    def task(i: int) -> None:
        all_are_here.wait(timeout=10)
        seen.append(denormal())

    before = denormal()
    workers.for_each(task, count)
    assert seen == [0] * count
    assert denormal() == before


def never() -> None:
    raise AssertionError("no task has failed")


@pytest.mark.parametrize("count", [1, 3])
def test_tasks_that_begin_at_once_each_have_a_thread_of_their_own(count: int) -> None:
    workers, all_are_here, seen = Workers(count), threading.Barrier(count), {}

    def task(i: int) -> None:
        all_are_here.wait(timeout=10)
        seen[i] = threading.current_thread()
        all_are_here.wait(timeout=10)

    for _ in range(2):
        workers.at_once(task, never)
        assert sorted(seen) == list(range(count))
        assert len(set(seen.values())) == count
        assert seen[0] is threading.main_thread()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_caller_waits_for_those_that_wait_for_it(error: type[BaseException]) -> None:
    workers, given_up, ended = Workers(2), threading.Event(), []

    def task(i: int) -> None:
        if i == 0:
            raise error
        assert given_up.wait(timeout=10)
        ended.append(i)

    with pytest.raises(error):
        workers.at_once(task, given_up.set)
    assert ended == [1]


def test_the_error_of_another_thread_comes_before_that_of_the_caller_that_noticed_it() -> None:
    workers, has_failed = Workers(2), threading.Event()

    def task(i: int) -> None:
        if i == 0:
            assert has_failed.wait(timeout=10)
            raise RuntimeError("another thread has failed")
        has_failed.set()
        raise ValueError("out of memory")

    with pytest.raises(ValueError, match="out of memory"):
        workers.at_once(task, lambda: None)


def test_alone_the_caller_does_every_task_itself() -> None:
    workers, callers = Workers(2), []

    def note(i: int) -> None:
        time.sleep(0.02)  # in which another thread would take the second task
        callers.append(threading.current_thread())

    workers.for_each(note, 4, alone=True)
    assert callers == [threading.main_thread()] * 4
