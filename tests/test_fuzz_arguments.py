"""Any arguments, in any order, of any command: an answer or one sentence, never a traceback."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export.cli import export
from runtime.cli import bench, reconstruct, sample, verify, web
from tests.fuzzing import contained, fuzz
from trainer.cli.evaluate import evaluate
from trainer.cli.sweep import sweep
from trainer.cli.train import train
from trainer.training.run_folder import Run

COMMANDS: list[click.Command] = [sample, verify, reconstruct, web, bench, export, train, evaluate, sweep]
NUMBERS = ["", "-", "--", "0", "1", "-1", "2", "64", "1e3", "nan", "inf", "9" * 400, "9" * 5000, "0/1", "1/0"]
NAMES = [
    "all",
    "auto",
    "cpu",
    "onnx",
    "mixture",
    "a.npy",
    "a.npz",
    "a.png",
    "a",
    "nowhere",
    "no/where",
    "..",
    "/dev/null",
]
FILES = ["pipe", "folder", "empty", "x.png", "x.npy", "x.pt", "x.toml", "x.pem", "link", "many", "endless", "x.py:f"]
words = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from([*NAMES, "\x1b[31m", "\udc80", "é"]),
    st.sampled_from(FILES),
    st.text(st.characters(blacklist_characters="\0"), max_size=8),
)


@pytest.fixture(scope="module")
def everything(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind."""
    folder = tmp_path_factory.mktemp("everything")
    for name in ("folder", "many"):
        (folder / name).mkdir()
    for i in range(3):
        Image.new("L", (12, 12), 9 * i).save(folder / "many" / f"{i}.png")
    (folder / "empty").touch()
    Image.new("L", (12, 12)).save(folder / "x.png")
    np.save(folder / "x.npy", np.zeros((3, 12, 12, 1), np.uint8))
    shutil.copy(tiny_run.best, folder / "x.pt")
    (folder / "x.toml").write_text("epochs = 'many'")
    (folder / "x.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    (folder / "x.py").write_text("def f(): return None")
    (folder / "link").symlink_to("nowhere")
    return folder


def copied(everything: Path, folder: Path) -> None:
    """The files that a command may replace are its own; no device or pipe can be copied."""
    shutil.copytree(everything, folder, symlinks=True, dirs_exist_ok=True)
    (folder / "endless").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")


@pytest.mark.parametrize("command", COMMANDS, ids=[str(command.name) for command in COMMANDS])
@fuzz
@given(data=st.data())
def test_any_arguments_end_in_an_answer_or_one_sentence(
    command: click.Command,
    bundle: Path,
    everything: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    options = [option for param in command.params for option in param.opts if option.startswith("--")]
    options = [option for option in options if option not in ("--engine", "--device")]  # Ray takes ten seconds to start
    first = {"sample": [str(bundle)], "verify": [str(bundle)], "bench": [str(bundle), "--seconds", "0.01"]}
    given_words = data.draw(st.lists(st.sampled_from(options) | words, min_size=1, max_size=6))
    if command is reconstruct and data.draw(st.booleans()):
        given_words = ["--bundle", str(bundle), *given_words]
    folder = tmp_path_factory.mktemp("fuzz")
    copied(everything, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VAE_DATA", ".")
    monkeypatch.setenv("VAE_CACHE", str(folder / "cache"))
    if command in (train, evaluate, sweep):  # whatever else they say, they end soon
        given_words = [*given_words, "--dataset", "nowhere.npy"]
    if command is web:
        given_words = [*given_words, "--site", "nowhere"]
    if command is sample:
        given_words = [*given_words, "--num", "5"]
    with contained(folder):
        result = CliRunner().invoke(command, [*first.get(str(command.name), []), *given_words])
    assert result.exit_code in (0, 1, 2)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "please report" not in result.output, result.output
    assert "\x1b" not in result.output
    shutil.rmtree(folder)
