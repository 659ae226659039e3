"""Any arguments, in any order, of any command: an answer or one sentence, never a traceback."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from export.cli import export
from runtime.cli import reconstruct, sample, verify, web
from tests.fuzzing import fuzz
from trainer.cli.evaluate import evaluate
from trainer.cli.sweep import sweep
from trainer.cli.train import train
from trainer.training.run_folder import Run

COMMANDS: list[click.Command] = [sample, verify, reconstruct, web, export, train, evaluate, sweep]
words = st.one_of(
    st.sampled_from(
        [
            "",
            "-",
            "--",
            "0",
            "1",
            "-1",
            "2",
            "64",
            "1e3",
            "nan",
            "inf",
            "9" * 400,
            "9" * 5000,
            "0/1",
            "1/0",
            "all",
            "auto",
        ]
    ),
    st.sampled_from(
        ["a.npy", "a.npz", "a.png", "nowhere", ".", "..", "/dev/null", "/dev/zero", "\x1b[31m", "\udc80", "é"]
    ),
    st.text(st.characters(blacklist_characters="\0"), max_size=8),
)


@pytest.mark.parametrize("command", COMMANDS, ids=[str(command.name) for command in COMMANDS])
@fuzz
@given(data=st.data())
def test_any_arguments_end_in_an_answer_or_one_sentence(
    command: click.Command,
    bundle: Path,
    tiny_run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    options = [option for param in command.params for option in param.opts if option.startswith("--")]
    options = [option for option in options if option not in ("--engine", "--device")]  # Ray takes ten seconds to start
    first = {"sample": [str(bundle)], "verify": [str(bundle)]}.get(str(command.name), [])
    given_words = data.draw(st.lists(st.sampled_from(options) | words, min_size=1, max_size=6))
    monkeypatch.chdir(tmp_path_factory.mktemp("fuzz"))
    monkeypatch.setenv("VAE_DATA", ".")
    if command in (train, evaluate, sweep):  # whatever else they say, they end soon
        given_words = [*given_words, "--dataset", "nowhere.npy"]
    if command is web:
        given_words = [*given_words, "--site", "nowhere"]
    if command is sample:
        given_words = [*given_words, "--num", "5"]
    result = CliRunner().invoke(command, [*first, *given_words])
    assert result.exit_code in (0, 1, 2)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "please report" not in result.output, result.output
    assert "\x1b" not in result.output
