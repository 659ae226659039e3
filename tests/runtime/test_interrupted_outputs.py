"""Outputs that were interrupted, damaged, or somebody else's: resumed to the same bytes, or refused in one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from runtime.cli import sample
from runtime.errors import OutputError
from runtime.job import SampleJob
from runtime.outputs import folder as folder_module
from runtime.outputs.folder import write_folder
from runtime.outputs.npy import write_npy
from runtime.outputs.npz import write_npz
from runtime.sampler import Sampler

NUM = 3000


def run(bundle: Path, *arguments: object) -> Result:
    return CliRunner().invoke(sample, [str(bundle), "--num", str(NUM), *map(str, arguments)])


def job_of(bundle: Path, first: int = 0, num: int = NUM) -> tuple[Sampler, SampleJob]:
    sampler = Sampler(bundle)
    return sampler, SampleJob.of(sampler, num, seed=0, first=first, temperature=1.0)


def test_a_finished_array_that_was_cut_short_is_found_and_redone(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    assert run(bundle, "--output", path).exit_code == 0
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    result = run(bundle, "--output", path, "--resume")
    assert (result.exit_code, "all present already" in result.output) == (0, False), result.output
    assert path.read_bytes() == whole


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_between_the_last_renames_of_an_array_can_be_resumed(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    path = tmp_path / "a.npy"
    left, replace = renames, Path.replace

    def stop(self: Path, target: Path) -> Path:
        nonlocal left
        if self.name.startswith("a.npy.part"):
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
        return replace(self, target)

    sampler, job = job_of(bundle)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            write_npy(sampler, job, path, resume=False)
    assert write_npy(sampler, job, path, resume=True) == 0  # every image is there
    assert (np.load(path) == sampler.sample(NUM)).all()
    assert sorted(file.name for file in tmp_path.iterdir() if file != bundle) == ["a.npy", "a.npy.json"]


def test_an_array_that_an_older_version_left_between_its_renames_can_be_resumed(bundle: Path, tmp_path: Path) -> None:
    """It renamed the note first."""
    path = tmp_path / "a.npy"
    assert run(bundle, "--output", path).exit_code == 0
    path.rename(tmp_path / "a.npy.part")
    assert run(bundle, "--output", path, "--resume").exit_code == 0
    assert len(np.load(path)) == NUM


@pytest.mark.parametrize("ending", ["npy", "npz", "png"])
def test_somebody_elses_file_is_replaced_by_force_alone(bundle: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    mine = np.arange(6)
    {
        "npy": lambda: np.save(path, mine),
        "npz": lambda: np.savez(path, mine=mine),
        "png": lambda: Image.new("L", (3, 3)).save(path),
    }[ending]()
    before = path.read_bytes()
    result = run(bundle, "--output", path)
    assert result.exit_code == 1
    assert "vae-sample did not write it" in result.output
    assert path.read_bytes() == before
    assert run(bundle, "--output", path, "--force").exit_code == 0
    assert run(bundle, "--output", path).exit_code == 0  # now it is ours


@pytest.mark.parametrize("ending", ["npy", "npz", "png"])
def test_a_link_to_a_file_that_is_not_there_yet_is_replaced_by_force_alone(
    bundle: Path, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"x.{ending}"
    path.symlink_to(tmp_path / "on a disk that is not mounted")
    result = run(bundle, "--output", path)
    assert (result.exit_code, "vae-sample did not write it" in result.output) == (1, True)
    assert path.is_symlink()
    assert run(bundle, "--output", path, "--force").exit_code == 0


@pytest.mark.parametrize("name", ["x.npy", "x.npy.json", "x.npy.part", "x.npz", "x.npz.json", "x.png"])
def test_a_pipe_in_place_of_an_output_or_its_note_does_not_hang(bundle: Path, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    result = run(bundle, "--output", tmp_path / name[:5])
    assert (result.exit_code, name in result.output, "please report" in result.output) == (1, True, False)
    assert [path.name for path in tmp_path.iterdir() if path != bundle] == [name]


@pytest.mark.parametrize(("ending", "more"), [("npy", []), ("npy", ["--resume"]), ("npz", [])])
def test_a_users_file_with_the_name_of_the_note_of_a_job_is_replaced_by_force_alone(
    bundle: Path, tmp_path: Path, ending: str, more: list[str]
) -> None:
    """An array with a JSON file of the same name beside it is a common pair."""
    path, note = tmp_path / f"x.{ending}", tmp_path / f"x.{ending}.json"
    note.write_text('{"mine": 1}')
    result = run(bundle, "--output", path, *more)
    assert (result.exit_code, f"{note}: " in result.output) == (1, True), result.output
    assert (note.read_text(), path.exists()) == ('{"mine": 1}', False)
    assert run(bundle, "--output", path, "--force").exit_code == 0
    assert run(bundle, "--output", path).exit_code == 0


@pytest.mark.parametrize("ending", ["npy", "npz", "png"])
def test_what_a_killed_writer_left_is_gone_after_the_next_one(bundle: Path, tmp_path: Path, ending: str) -> None:
    program = (
        "import os, pathlib, signal; from runtime.cli import sample; import sys\n"
        "pathlib.Path.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL); sample(sys.argv[1:])"
    )
    path = tmp_path / f"x.{ending}"
    arguments = [str(bundle), "--num", "100", "--output", str(path)]
    assert subprocess.run([sys.executable, "-c", program, *arguments]).returncode == -signal.SIGKILL
    assert any(file.name.startswith(".x") for file in tmp_path.iterdir())
    assert run(bundle, "--output", path, *(["--resume"] if ending == "npy" else [])).exit_code == 0
    assert {file.name for file in tmp_path.iterdir()} - {"bundle"} <= {path.name, f"{path.name}.json"}


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_a_kill_at_any_rename_leaves_nothing_hidden_after_the_next_start(
    bundle: Path, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"x[1].{ending}"  # which is a pattern, too
    sampler, job = job_of(bundle, num=100)

    def write() -> None:
        if ending == "npy":
            write_npy(sampler, job, path, resume=path.exists() or path.with_name(f"{path.name}.part").exists())
        else:
            write_npz(sampler, job, path)

    def die_at(step: int) -> bool:
        """Whether there was a rename with this number."""
        pid = os.fork()
        if pid == 0:
            left, replace = step, Path.replace

            def stop(self: Path, target: Path) -> Path:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return replace(self, target)

            Path.replace = stop  # type: ignore[method-assign, assignment]
            write()
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        return os.WIFSIGNALED(status)

    step = 0
    while die_at(step):
        write()
        assert sorted(file.name for file in tmp_path.iterdir() if file != bundle) == [path.name, f"{path.name}.json"]
        path.unlink()
        path.with_name(f"{path.name}.json").unlink()
        step += 1
    assert step >= 2


def test_resuming_a_folder_asks_for_room_for_what_is_missing_alone(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, job = job_of(bundle, num=100)
    write_folder(sampler, job, tmp_path / "a", resume=False)
    for path in list((tmp_path / "a").glob("*.png"))[:10]:
        path.unlink()
    asked = []
    monkeypatch.setattr(folder_module, "require_space", lambda path, needed: asked.append(needed))
    write_folder(sampler, job, tmp_path / "a", resume=True)
    assert asked == [10 * 4096]


def test_two_writers_of_one_folder_are_kept_apart_but_shards_share_it(bundle: Path, tmp_path: Path) -> None:
    sampler, job = job_of(bundle)
    _, other_shard = job_of(bundle, first=NUM)
    refusals: list[str] = []

    def second_writers(count: int) -> None:
        if count and not refusals:
            with pytest.raises(OutputError, match=rf"pid {os.getpid()}\) is writing it") as refusal:
                write_folder(sampler, job, tmp_path / "a", resume=True)
            refusals.append(str(refusal.value))
            write_folder(sampler, other_shard, tmp_path / "a", resume=False)

    write_folder(sampler, job, tmp_path / "a", resume=False, advance=second_writers)
    assert refusals
    assert len(list((tmp_path / "a").glob("*.png"))) == 2 * NUM
    assert [file.name for file in (tmp_path / "a").iterdir() if file.name.startswith(".")] == []
