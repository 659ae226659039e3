"""Locks on outputs: one writer at a time, named in the refusal, released by any end, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from runtime.errors import OutputError
from runtime.files.owner import lock_beside, lock_inside, owning, owning_part

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no advisory locks")
HOLD = """
import sys, pathlib
from runtime.files.owner import owning, owning_part
path = pathlib.Path(sys.argv[1])
held = owning_part(path.parent, *map(int, sys.argv[2:]), lambda: None) if sys.argv[2:] else owning(path, path)
with held:
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path, *part: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock."""
    command = [sys.executable, "-c", HOLD, str(path), *map(str, part)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_holder_is_refused_and_told_the_pid_of_the_first(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with (
        holder(lock) as process,
        pytest.raises(OutputError, match=rf"bundle: another process \(pid {process.pid}\) is writing it"),
        owning(tmp_path / "bundle", lock),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_lock_ends_with_its_holder_and_its_file_with_the_next_one(tmp_path: Path, number: signal.Signals) -> None:
    lock = tmp_path / ".lock"
    with holder(lock) as process:
        process.send_signal(number)
        process.wait()
        assert lock.exists()  # nothing ran that could have removed it
        with owning(tmp_path, lock):
            pass
    assert not lock.exists()


def test_a_lock_within_one_process_is_one_too(tmp_path: Path) -> None:
    with (
        owning(tmp_path, lock_inside(tmp_path)),
        pytest.raises(OutputError, match=f"pid {os.getpid()}"),
        owning(tmp_path, lock_inside(tmp_path)),
    ):
        pass


def test_a_hundred_holders_in_turn_never_overlap_although_each_removes_the_file(tmp_path: Path) -> None:
    program = """
import sys, pathlib
from runtime.errors import OutputError
from runtime.files.owner import owning
lock, flag = (pathlib.Path(sys.argv[1]) / name for name in (".lock", "flag"))
done = 0
while done < 100:
    try:
        with owning(lock, lock):
            flag.touch(exist_ok=False)
            flag.unlink()
            done += 1
    except OutputError:
        pass
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("first", "num", "free"), [(0, 10, False), (5, 1, False), (9, 5, False), (10, 5, True)])
def test_parts_of_a_folder_are_shared_out_but_never_overlap(tmp_path: Path, first: int, num: int, free: bool) -> None:
    with holder(tmp_path / "x", 0, 10) as process, ExitStack() as stack:
        if not free:
            stack.enter_context(pytest.raises(OutputError, match=rf"pid {process.pid}\) is writing it"))
        with owning_part(tmp_path, first, num, lambda: None):
            assert free


def test_a_killed_part_blocks_nobody_and_leaves_nothing(tmp_path: Path) -> None:
    with holder(tmp_path / "x", 0, 10) as process:
        process.kill()
        process.wait()
        with owning_part(tmp_path, 5, 10, lambda: None):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_or_a_folder_in_place_of_a_lock_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    lock = lock_beside(tmp_path / "bundle")
    lock.symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError, match="cannot write"), owning(tmp_path / "bundle", lock):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_the_folder_that_one_is_in_has_a_lock_beside_it_and_the_root_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert lock_beside(Path()) == tmp_path.resolve() / ".here.lock"
    with pytest.raises(OutputError, match="is the root of the file system"):
        lock_beside(Path("/"))
