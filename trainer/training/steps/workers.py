"""Threads that take tasks of a training step, each on one core, and sleep while there are none.

torch shares out the work of one operator at a time, with a barrier at the end of each. A step of a small network is
some sixty operators of 10 to 100 µs, so torch's threads must spin while they wait; with one other busy process on the
machine they mostly spin for a thread that is not running. Here a step has three barriers, and a thread that waits
sleeps, unless the tasks themselves wait for each other (see `together`). A task that no other thread has taken yet is
done by the calling thread, and so are all tasks for a while after another thread was interrupted in the middle of one.

In these threads numbers below 1e-38 count as zero. Where a pixel is black in almost every image, Adam's mean decays to
such denormal numbers and never beyond; after two epochs on MNIST they are a tenth of all, and double Adam's time on an
AMD EPYC (Zen 5).
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import torch

_LATE_SECONDS = 0.5e-3  # a time slice of the scheduler is 3 ms, waking a thread takes 10 µs
_ALONE_FROM, _ALONE_TO = 8, 1024  # jobs


class Workers:
    """The calling thread and `count` − 1 others."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._flushes_already = _flushes_denormal()
        self._alone = 0  # jobs still to do without the other threads
        self._alone_next = _ALONE_FROM
        self._jobs = [SimpleQueue[_Job | None]() for _ in range(1, count)]
        # Their target is no method: a thread that refers to `self` would keep it alive for ever.
        threads = [threading.Thread(target=_work, args=(jobs,), daemon=True) for jobs in self._jobs]
        for thread in threads:
            thread.start()
        weakref.finalize(self, _dismiss, self._jobs, threads)

    def for_each(self, task: Callable[[int], None], tasks: int, *, alone: bool = False) -> None:
        """Call `task(i)` for each i below `tasks`, in whichever thread is free, and return when all are done.

        alone: all of them in the calling thread.

        With several workers torch then has one thread in each of them. Raises what a task raises, after those that have
        begun have ended.
        """
        job = _Job(task, range(tasks))
        with self._one_thread_each():
            if alone:
                for i in range(tasks):
                    task(i)
                return
            late, told = self._alone > 0, 0
            try:
                for jobs in [] if late else self._jobs[: tasks - 1]:
                    jobs.put(job)
                    told += 1
                started = time.perf_counter()
                job.work(job.indices.popleft)
                waiting = time.perf_counter()
                errors = [error for _ in range(tasks) if (error := job.results.get()) is not None]
            except BaseException:  # an interrupt
                job.indices.clear()
                for _ in range(told):
                    job.ended.get()
                raise
            if errors:
                raise errors[0]
            if late:
                self._alone -= 1
            else:
                self._judge(working=waiting - started, waiting=time.perf_counter() - waiting)

    def at_once(self, task: Callable[[int], None], give_up: Callable[[], None]) -> None:
        """Call `task(i)` in thread i for each i below `count`, at the same time: tasks may wait for each other.

        Returns as soon as `task(0)` does, which waits itself for what it needs of the others. If it raises, or is
        interrupted, then after `give_up()` the others must end by themselves; their first error, or its own, is raised.
        """
        begun: list[_Job] = []
        with self._one_thread_each():
            try:
                for i, jobs in enumerate(self._jobs, 1):
                    job = _Job(task, range(i, i + 1))
                    jobs.put(job)
                    begun.append(job)
                task(0)
            except BaseException as error:
                give_up()
                others = [job.results.get() for job in begun]
                raise next((each for each in others if each is not None), error) from None

    @contextmanager
    def _one_thread_each(self) -> Iterator[None]:
        """Inside the block torch has one thread in each of these, and takes denormal numbers as zero."""
        threads = torch.get_num_threads()
        try:
            if self.count > 1:
                torch.set_num_threads(1)  # 1 µs
            torch.set_flush_denormal(True)
            yield
        finally:
            torch.set_flush_denormal(self._flushes_already)
            if self.count > 1:
                torch.set_num_threads(threads)

    def _judge(self, *, working: float, waiting: float) -> None:
        """Work alone for a while if another thread was late, for twice as long each time that it happens again.

        working, waiting: seconds of the last job. A late thread means that another process holds its core;
        `benchmarks/busy_neighbour.py` measures such a machine.
        """
        if waiting > max(working, _LATE_SECONDS):
            self._alone = self._alone_next
            self._alone_next = min(2 * self._alone_next, _ALONE_TO)
        else:
            self._alone_next = max(self._alone_next - 1, _ALONE_FROM)


class _Job:
    """Tasks that threads take from both ends, so that with two of them each mostly finds its own in its cache."""

    def __init__(self, task: Callable[[int], None], indices: range) -> None:
        self.task, self.indices = task, deque(indices)
        self.results = SimpleQueue[BaseException | None]()
        """One for each task: None, or what it raised."""
        self.ended = SimpleQueue[None]()
        """One for each other thread that was told of the job and has nothing more to do in it."""

    def work(self, take: Callable[[], int]) -> None:
        """Do what is left of the tasks. take: `indices.pop` or `indices.popleft`."""
        while True:
            try:
                i = take()
            except IndexError:
                return
            error = None
            try:
                self.task(i)
            except BaseException as raised:
                error = raised
            self.results.put(error)


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    """What a thread does until it is dismissed."""
    torch.set_num_threads(1)  # a number that OpenMP keeps for each thread
    torch.set_flush_denormal(True)  # and so does the processor
    while (job := jobs.get()) is not None:
        job.work(job.indices.pop)
        job.ended.put(None)
        del job  # it refers to the step, which the thread must not keep alive while it waits


def _flushes_denormal() -> bool:
    """Whether this thread already takes denormal numbers as zero, which torch can set but not tell."""
    return bool(torch.full((), 1e-30).mul_(1e-10) == 0)


def _dismiss(jobs: list[SimpleQueue[_Job | None]], threads: list[threading.Thread]) -> None:
    """End the threads, before the interpreter does: it would unwind them in the middle of C++, which aborts."""
    for queue in jobs:
        queue.put(None)
    for thread in threads:
        if thread is not threading.current_thread():  # which drops the last reference, perhaps
            thread.join()
