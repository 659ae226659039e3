"""The terms of the loss that `vae-train` prints are right for each data set and likelihood."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from trainer.cli.train import train
from trainer.data.numpy_files import load_arrays

_NUMBER = re.compile(r"-?\d+\.\d\d(?= nats| entropy| excess| reconstruction| squared| KL)")


@pytest.mark.parametrize(
    ("channels", "options", "words"),
    [
        (1, [], ["entropy of the gray pixels, which no model can avoid", "excess"]),
        (3, [], ["entropy of the colours, which no model can avoid", "excess"]),
        (1, ["--beta", "0.5"], ["entropy of the gray pixels", "excess + 0.5 ×"]),
        (1, ["--binarize", "dynamic"], ["reconstruction + 1 ×"]),
        (3, ["--binarize", "static-threshold"], ["reconstruction + 1 ×"]),
        (1, ["--likelihood", "gaussian"], ["squared error + 1 ×"]),
        (1, ["--likelihood", "continuous-bernoulli"], ["reconstruction + 1 ×"]),
    ],
)
def test_the_loss_is_the_sum_of_its_parts_under_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, options: list[str], words: list[str]
) -> None:
    monkeypatch.setattr("trainer.pictures.draw_run", lambda *arguments: [])  # pictures take longer than the test
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4, channels), np.uint8))
    small = [
        "--preset",
        "tutorial",
        "--hidden",
        "4",
        "--latent-dim",
        "2",
        "--epochs",
        "1",
        "--runs",
        str(tmp_path / "runs"),
    ]
    result = CliRunner().invoke(train, ["--dataset", str(tmp_path / "a.npy"), *small, *options])
    assert result.exit_code == 0, result.output
    said = result.output[result.output.index("best ") : result.output.index("wrote")]
    assert all(word in said for word in words)
    assert ("entropy" in said) == ("entropy" in words[0])
    loss, *parts, kl = map(float, _NUMBER.findall(said))
    assert len(parts) == (2 if "entropy" in said else 1)
    beta = 0.5 if "--beta" in options else 1
    assert loss == pytest.approx(sum(parts) + beta * kl, abs=0.02)
    if "entropy" in said:
        x = torch.from_numpy(load_arrays(tmp_path / "a.npy").test_images / 255)
        entropy = (torch.special.entr(x) + torch.special.entr(1 - x)).sum() / len(x)
        assert parts[0] == pytest.approx(entropy.item(), abs=0.01)
