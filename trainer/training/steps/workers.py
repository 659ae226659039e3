"""Threads that each run their part of a training step on one core, and wait for each other without spinning.

torch shares out the work of one operator at a time, with a barrier at the end of each; a step of a small network is some
sixty operators of 10 to 100 µs. Its threads must therefore spin while they wait, and with one other busy process on the
machine they mostly spin for a thread that is not running. Here a step has three barriers, and who waits sleeps.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

import torch
from torch import Tensor

_Task = Callable[[int], None]
_Token = BaseException | None
"""What a worker sends at a barrier: nothing, or the reason why it will never arrive."""


class Workers:
    """`count` workers, numbered from 0; number 0 is the thread that calls `run`.

    While a task runs, torch has one thread in each worker. Afterwards its number is what it was.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._tasks = [SimpleQueue[_Task | None]() for _ in range(1, count)]
        # _tokens[i][j]: from worker i to worker j.
        self._tokens = [[SimpleQueue[_Token]() for _ in range(count)] for _ in range(count)]
        self._shares: list[Tensor | None] = [None] * count
        self._failed = False
        # Their target is no method: a thread that refers to `self` would keep it alive for ever.
        threads = [
            threading.Thread(target=_work, args=(tasks, i, self._tokens), name=f"step-{i}", daemon=True)
            for i, tasks in enumerate(self._tasks, start=1)
        ]
        for thread in threads:
            thread.start()
        weakref.finalize(self, _dismiss, self._tasks, threads)

    def run(self, task: _Task) -> None:
        """Call `task(i)` in each worker, and return when all have returned. Raises what the task raises in any of them;
        the workers cannot be used after that."""
        if self.count == 1:
            task(0)
            return
        if self._failed:
            raise RuntimeError("these workers have failed before; make new ones")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for tasks in self._tasks:
                tasks.put(task)
            _run(task, 0, self._tokens)
        except BaseException:
            self._failed = True
            raise
        finally:
            torch.set_num_threads(threads)

    def barrier(self, i: int) -> None:
        """Called by worker i from within a task: wait until all workers have called it as often."""
        _barrier(i, self._tokens)

    def total(self, i: int, share: Tensor) -> Tensor:
        """Called by worker i from within a task, at most once between two barriers: the sum of all shares, bit-identical
        in all workers."""
        if self.count == 1:
            return share
        self._shares[i] = share
        self.barrier(i)
        shares = [each for each in self._shares if each is not None]
        return torch.stack(shares).sum(0)


def _work(tasks: SimpleQueue[_Task | None], i: int, tokens: list[list[SimpleQueue[_Token]]]) -> None:
    """What a thread does until it is dismissed."""
    torch.set_num_threads(1)  # OpenMP keeps this number per thread
    while (task := tasks.get()) is not None:
        try:
            _run(task, i, tokens)
        except BaseException:
            return  # worker 0 has raised it, or been told of it
        del task  # it refers to the step, which the thread must not keep alive while it waits


def _run(task: _Task, i: int, tokens: list[list[SimpleQueue[_Token]]]) -> None:
    try:
        task(i)
    except BaseException as error:
        for j in range(len(tokens)):
            tokens[i][j].put(error)
        raise
    _barrier(i, tokens)


def _barrier(i: int, tokens: list[list[SimpleQueue[_Token]]]) -> None:
    """One token to each other worker, and one from each: half the time of `threading.Barrier`, which is in Python."""
    others = [j for j in range(len(tokens)) if j != i]
    for j in others:
        tokens[i][j].put(None)
    for j in others:
        error = tokens[j][i].get()
        if error is not None:
            raise error


def _dismiss(tasks: list[SimpleQueue[_Task | None]], threads: list[threading.Thread]) -> None:
    """End the threads, before the interpreter does: it would unwind them in the middle of C++, which aborts."""
    for queue in tasks:
        queue.put(None)
    for thread in threads:
        if thread is not threading.current_thread():  # which drops the last reference, perhaps
            thread.join()
