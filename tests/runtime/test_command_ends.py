"""How commands end: signals, closed and full streams, and whatever nobody has foreseen, each in one sentence."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from runtime.cli import bench, reconstruct, sample, verify
from runtime.cli.command import Command
from runtime.errors import BundleError
from runtime.text import printable

BIN = Path(sys.executable).parent
SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


def start(command: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BIN / command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("ending", "num", "said"),
    [("npy", 3_000_000, "--resume"), ("", 300_000, "--resume"), ("npz", 3_000_000, "nothing was written")],
)
def test_a_signal_ends_a_long_job_in_one_sentence_and_leaves_nothing_hidden(
    bundle: Path, tmp_path: Path, number: signal.Signals, ending: str, num: int, said: str
) -> None:
    output = tmp_path / "a" / f"x.{ending}".rstrip(".")
    process = start("vae-sample", bundle, "--num", num, "--output", output)
    while not (output.parent.is_dir() and any(path.name.startswith((".x", "x")) for path in output.parent.iterdir())):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert (stdout, len(stderr.splitlines()), said in stderr) == ("", 1, True), stderr
    assert not list((tmp_path / "a").rglob(".*"))


def test_a_signal_that_is_ignored_stays_ignored(bundle: Path, tmp_path: Path) -> None:
    """`nohup`."""
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = start("vae-sample", bundle, "--num", 20_000, "--output", tmp_path / "x", preexec_fn=ignore)
    while not (tmp_path / "x").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_signal_ends_a_command_that_is_in_a_long_call_of_an_engine() -> None:
    """LAPACK hears no signal for some ten seconds."""
    program = """
import sys, click, numpy
from runtime.cli import signals
from runtime.cli.command import Command
signals._GRACE_S = 0.3
@click.command(cls=Command)
def busy():
    matrix = numpy.random.default_rng(0).standard_normal((5000, 5000))
    print("busy", flush=True)
    numpy.linalg.eigvals(matrix)
busy([])
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "busy\n"
        time.sleep(0.2)
        process.terminate()
        assert process.wait(timeout=20) == 128 + signal.SIGTERM


def test_works_with_stderr_closed(bundle: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        f"{BIN}/vae-sample {bundle} --num 9 --output {tmp_path}/x.npy 2>&-", shell=True, stdout=subprocess.PIPE
    )
    assert done.returncode == 0
    assert (tmp_path / "x.npy").stat().st_size == 128 + 9 * 144


@pytest.mark.parametrize(
    ("rest", "code", "said"),
    [
        ("--output - >&-", 2, "stdout is closed"),
        ("--output - >/dev/full", 1, "cannot write to stdout: No space left on device"),
        ("--output {folder}/x.png >/dev/full", 1, "cannot write the output: No space left on device"),
        ("--output {folder}/x.png >&-", 0, ""),
        ("--output {folder}/x.png --shard " + "1" * 5000 + "/2", 2, "should be I/N"),
    ],
)
def test_a_stdout_that_cannot_be_written_to_is_one_sentence(
    bundle: Path, tmp_path: Path, rest: str, code: int, said: str
) -> None:
    command = f"{BIN}/vae-sample {bundle} --num 9 {rest.format(folder=tmp_path)}"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_what_nobody_has_foreseen_is_a_sentence_with_its_type_and_debug_shows_the_rest() -> None:
    @click.command(cls=Command)
    def fail() -> None:
        raise LookupError("\x1b[31mred\nherring")

    result = CliRunner().invoke(fail, [])
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: LookupError: \\x1b[31mred herring; this should not happen, please report it with what --debug shows\n"
    )
    result = CliRunner().invoke(fail, ["--debug"])
    assert "Traceback (most recent call last)" in result.stderr
    assert "\x1b" not in result.stderr


def test_debug_shows_where_an_expected_error_comes_from(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()
    assert "Traceback" not in CliRunner().invoke(verify, [str(bundle)]).stderr
    assert "Traceback" in CliRunner().invoke(verify, [str(bundle), "--debug"]).stderr


def test_foreign_text_is_escaped_and_shortened() -> None:
    assert printable("grün \x1b]0;evil\x07 \u202e \udc80 \n") == r"grün \x1b]0;evil\x07 \u202e \udc80 \n"
    assert printable("a\nb\r", keep="\n") == "a\nb\\r"
    assert len(printable("x" * 10**6)) < 2100
    assert "\x1b" not in str(BundleError("\x1b[2J"))


def test_a_temperature_or_shard_of_nonsense_is_bad_usage(bundle: Path) -> None:
    for option in (["--temperature", "1e300"], ["--num", "9" * 5000], ["--seed", "1e3"]):
        result = CliRunner().invoke(sample, [str(bundle), *option])
        assert (result.exit_code, "Traceback" in result.output) == (2, False), result.output


def test_what_is_no_number_or_no_command_is_bad_usage(bundle: Path) -> None:
    for command, *option in (
        (sample, "--temperature", "nan"),
        (bench, "--seconds", "nan"),
        (verify, "--compiler", '"'),
    ):
        result = CliRunner().invoke(command, [str(bundle), *option])
        assert (result.exit_code, option[0] in result.output) == (2, True), result.output


def test_no_command_leaves_the_users_signals_changed(bundle: Path, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    assert CliRunner().invoke(sample, [str(bundle), "--num", "1", "--output", str(tmp_path / "x.png")]).exit_code == 0
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_the_name_of_a_strangers_file_cannot_reach_the_terminal(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "images" / "\x1b[31mred.png")
    options = ["--bundle", str(bundle), "--output", str(tmp_path / "x.png")]
    converted = CliRunner().invoke(reconstruct, [str(tmp_path / "images"), *options])
    (tmp_path / "images" / "\x1b[31mred.png").write_bytes(b"")
    refused = CliRunner().invoke(reconstruct, [str(tmp_path / "images"), *options])
    misused = CliRunner().invoke(verify, [str(bundle), "\x1b[31mred"])
    assert (converted.exit_code, refused.exit_code, misused.exit_code) == (0, 1, 2)
    for result in (converted, refused, misused):
        assert "red" in result.output
        assert "\x1b" not in result.output
