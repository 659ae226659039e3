"""Device, dtype and threads of a run are chosen and checked once, before anything is written."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from trainer.cli.train import train
from trainer.data.dataset import ImageData
from trainer.errors import SettingsError
from trainer.settings import Settings
from trainer.training.execution import Execution
from trainer.training.loop import fit
from trainer.training.run_folder import Run
from trainer.training.state import fresh_model
from trainer.training.team import ALONE, Team

CPU = torch.device("cpu")


def test_choose_sets_the_threads_of_this_process_and_is_alone_without_torchrun(tiny_settings: Settings) -> None:
    before = torch.get_num_threads()
    try:
        execution = Execution.choose(tiny_settings, device="cpu", graph=False, threads=2)
        assert torch.get_num_threads() == 2
        assert execution == Execution(CPU, graph=False, team=ALONE)
        assert execution.describe() == "cpu, 2 threads"
        assert Execution(CPU, team=Team(1, 3)).describe() == "cpu, 2 threads, in each of 3 processes"
    finally:
        torch.set_num_threads(before)


def test_bf16_on_a_cpu_without_it_is_refused_before_anything_is_written(
    tiny_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.training.execution.has_bf16", lambda device: False)
    with pytest.raises(SettingsError, match="this processor has no bf16 instructions"):
        Execution(CPU).check(replace(tiny_settings, precision="bf16"))
    arguments = ["--dataset", "glyphs", "--precision", "bf16", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 1
    assert "use --precision float32" in result.output
    assert not (tmp_path / "runs").exists()


def test_a_model_that_the_caller_built_is_the_one_that_is_trained(
    tiny_settings: Settings, blobs: ImageData, tmp_path: Path
) -> None:
    settings = replace(tiny_settings, epochs=1)
    model = fresh_model(settings, blobs)
    (given,) = fit(settings, blobs, Run(tmp_path / "given"), model=model)
    (built,) = fit(settings, blobs, Run(tmp_path / "built"))
    assert all(torch.equal(tensor, given.model_state[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, built.model_state[name]) for name, tensor in given.model_state.items())
