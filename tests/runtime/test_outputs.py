"""Outputs of `vae-sample` are complete or resumable, with the same bytes after any interruptions and sharding."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from runtime.cli import sample
from runtime.errors import OutputError
from runtime.job import SampleJob
from runtime.outputs.npy import write_npy
from runtime.sampler import Sampler
from tests.runtime.children import child


def run(bundle: Path, *arguments: object) -> Result:
    return CliRunner().invoke(sample, [str(bundle), *map(str, arguments)])


def ok(bundle: Path, *arguments: object) -> Result:
    result = run(bundle, *arguments)
    assert result.exit_code == 0, result.output
    return result


class StoppedError(Exception):
    """Simulates an interruption."""


def stop_after(count: int, error: BaseException) -> Callable[[int], None]:
    done = 0

    def advance(images: int) -> None:
        nonlocal done
        done += images
        if done >= count:
            raise error

    return advance


def job_of(bundle: Path, num: int, **options: float) -> tuple[Sampler, SampleJob]:
    sampler = Sampler(bundle, threads=2)
    return sampler, SampleJob.of(sampler, num, seed=4, first=0, temperature=options.get("temperature", 1.0))


def test_an_array_interrupted_five_times_and_resumed_is_the_same_file(bundle: Path, tmp_path: Path) -> None:
    ok(bundle, "--num", 30_000, "--seed", 4, "--output", tmp_path / "whole.npy")
    sampler, job = job_of(bundle, 30_000)
    path = tmp_path / "pieces.npy"
    for _ in range(5):
        with pytest.raises(StoppedError):
            write_npy(sampler, job, path, resume=True, advance=stop_after(4000, StoppedError()), batch_size=777)
        assert not path.exists()
        with (tmp_path / "pieces.npy.part").open("r+b") as file:  # as after a kill in the middle of a write
            file.truncate(file.seek(0, os.SEEK_END) - 13)
    ok(bundle, "--num", 30_000, "--seed", 4, "--output", path, "--resume")
    assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir() if "pieces" in file.name) == [
        "pieces.npy",
        "pieces.npy.json",
    ]


def test_resuming_a_finished_array_draws_nothing(bundle: Path, tmp_path: Path) -> None:
    ok(bundle, "--output", tmp_path / "a.npy")
    before = (tmp_path / "a.npy").stat().st_mtime_ns
    assert "all present already" in ok(bundle, "--output", tmp_path / "a.npy", "--resume").output
    assert (tmp_path / "a.npy").stat().st_mtime_ns == before


@pytest.mark.parametrize("option", [["--seed", 9], ["--temperature", 0.5], ["--num", 31_000], ["--first", 1]])
def test_resuming_another_job_is_refused_and_names_the_difference(
    bundle: Path, tmp_path: Path, option: list[object]
) -> None:
    sampler, job = job_of(bundle, 30_000)
    with pytest.raises(StoppedError):
        write_npy(sampler, job, tmp_path / "a.npy", resume=False, advance=stop_after(5000, StoppedError()))
    before = (tmp_path / "a.npy.part").read_bytes()
    result = run(bundle, "--num", 30_000, "--seed", 4, "--output", tmp_path / "a.npy", "--resume", *option)
    assert result.exit_code == 1
    assert str(option[0]).strip("-") in result.output
    assert (tmp_path / "a.npy.part").read_bytes() == before


def test_an_interrupted_array_is_not_overwritten_without_resume(bundle: Path, tmp_path: Path) -> None:
    sampler, job = job_of(bundle, 30_000)
    with pytest.raises(StoppedError):
        write_npy(sampler, job, tmp_path / "a.npy", resume=False, advance=stop_after(5000, StoppedError()))
    result = run(bundle, "--num", 30_000, "--seed", 4, "--output", tmp_path / "a.npy")
    assert result.exit_code == 1
    assert "--resume" in result.output


def test_resume_detects_images_that_this_machine_draws_differently(bundle: Path, tmp_path: Path) -> None:
    sampler, job = job_of(bundle, 30_000)
    with pytest.raises(StoppedError):
        write_npy(sampler, job, tmp_path / "a.npy", resume=False, advance=stop_after(5000, StoppedError()))
    part = tmp_path / "a.npy.part"
    content = bytearray(part.read_bytes())
    done = (len(content) - 128) // 144 // sampler.block * sampler.block
    content[128 + (done - 3) * 144 + 70] ^= 1
    part.write_bytes(content)
    with pytest.raises(OutputError, match="differ from those that this machine draws"):
        write_npy(sampler, job, tmp_path / "a.npy", resume=True)


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize("parts", [1, 3, 7])
def test_concatenated_shards_equal_the_unsharded_output(bundle: Path, tmp_path: Path, ending: str, parts: int) -> None:
    def load(path: Path) -> np.ndarray:
        if ending == "npy":
            return np.load(path)
        with np.load(path) as archive:
            return archive["images"]

    ok(bundle, "--num", 1000, "--first", 50, "--output", tmp_path / f"whole.{ending}")
    for part in range(parts):
        arguments = ["--num", 1000, "--first", 50, "--shard", f"{part}/{parts}"]
        ok(bundle, *arguments, "--output", tmp_path / f"{part}.{ending}")
    together = np.concatenate([load(tmp_path / f"{part}.{ending}") for part in range(parts)])
    assert (together == load(tmp_path / f"whole.{ending}")).all()


@pytest.mark.parametrize("shard", ["1", "2/2", "-1/2", "0/0", "a/b", "0/65"])
def test_a_bad_shard_is_refused(bundle: Path, tmp_path: Path, shard: str) -> None:
    result = run(bundle, "--shard", shard, "--output", tmp_path / "a.npy")
    assert result.exit_code in (1, 2)
    assert "shard" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_archive_holds_images_latents_and_indices_and_is_reproducible(bundle: Path, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        ok(bundle, "--num", 300, "--first", 7, "--seed", 2, "--output", tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as archive:
        content = dict(archive)
    sampler = Sampler(bundle)
    assert (content["indices"] == np.arange(7, 307)).all()
    assert (content["latents"] == sampler.latents(content["indices"], seed=2)).all()
    assert (content["images"] == sampler.sample(300, seed=2, first=7)).all()


def test_a_folder_of_pictures_can_be_shared_by_shards_and_resumed(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for part in (0, 1):
        ok(bundle, "--num", 301, "--shard", f"{part}/2", "--output", folder)
    expected = Sampler(bundle).sample(301)
    files = sorted(folder.glob("*.png"))
    assert [file.name for file in files] == [f"{i:08d}.png" for i in range(301)]
    assert all((np.asarray(Image.open(files[i])) == expected[i, :, :, 0]).all() for i in (0, 150, 151, 300))
    files[200].unlink()
    ok(bundle, "--num", 301, "--output", folder, "--resume")
    assert (np.asarray(Image.open(files[200])) == expected[200, :, :, 0]).all()
    result = run(bundle, "--num", 301, "--seed", 1, "--output", folder, "--resume")
    assert result.exit_code == 1
    assert "seed" in result.output


def test_a_folder_with_other_files_is_not_changed(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    result = run(bundle, "--output", tmp_path / "mine")
    assert result.exit_code == 1
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_the_job_is_recorded_next_to_an_output_and_inside_a_grid(bundle: Path, tmp_path: Path) -> None:
    for name in ("a.npy", "a.npz", "a.png"):
        ok(bundle, "--num", 9, "--seed", 3, "--temperature", 0.7, "--output", tmp_path / name)
    texts = [(tmp_path / f"a.{ending}.json").read_text() for ending in ("npy", "npz")]
    with Image.open(tmp_path / "a.png") as picture:
        texts.append(picture.info["vae_toolchain"])
    for text in texts:
        job = json.loads(text)["job"]
        assert (job["num"], job["seed"], job["temperature"], job["precision"]) == (9, 3, 0.7, "float32")


def test_raw_pixels_go_to_stdout_and_messages_to_stderr(bundle: Path) -> None:
    result = ok(bundle, "--num", 20, "--output", "-")
    assert result.stdout_bytes == Sampler(bundle).sample(20).tobytes()
    assert "20 images" in result.stderr


def test_more_images_than_the_disk_holds_are_refused_before_anything_is_written(bundle: Path, tmp_path: Path) -> None:
    for name in ("a.npy", "a.npz", "a"):
        result = run(bundle, "--num", 10**12, "--output", tmp_path / name)
        assert result.exit_code == 1
        assert "free" in result.output
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "bundle"]


def test_a_disk_that_fills_up_leaves_a_resumable_file(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, job = job_of(bundle, 30_000)
    path = tmp_path / "a.npy"
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match=r"No space left on device; .*a\.npy\.part is kept, and --resume"):
        write_npy(sampler, job, path, resume=False, advance=stop_after(9000, full))
    assert not path.exists()
    write_npy(sampler, job, path, resume=True)
    assert (np.load(path) == sampler.sample(30_000, seed=4)).all()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_device_on_stdout_ends_in_one_sentence(bundle: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, bundle, "--num", "5000", "--output", "-"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr


PROGRAM = [sys.executable, "-c", "from runtime.cli import sample; sample()"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_resumable_file_and_says_how_to_resume(
    bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "a.npy"
    command = [*PROGRAM, bundle, "--num", "2000000", "--output", path]
    part = tmp_path / "a.npy.part"
    with child(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--resume goes on" in errors
    assert "Traceback" not in errors
    assert not path.exists()
    assert part.exists()


def test_a_closed_pipe_ends_the_program_silently(bundle: Path) -> None:
    command = [*PROGRAM, bundle, "--num", "1000000", "--output", "-"]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(1000)) == 1000
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


def test_progress_without_a_terminal_is_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.cli import progress as module

    stream, now = io.StringIO(), iter(range(0, 1000, 6))
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("runtime.cli.progress.time.monotonic", lambda: next(now))
    with module.progress(1000) as advance:
        for _ in range(10):
            advance(100)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "200 of 1,000 images, 17 images/s, 48 s left"
    assert len(lines) == 4
