"""TensorBoard events agree with the history, also for runs that were killed or resumed."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from runtime.errors import OutputError
from trainer.checkpoint import EpochMetrics, load_checkpoint
from trainer.cli.train import train
from trainer.training.tensorboard import Events

Scalars = dict[str, list[tuple[int, float]]]


def scalars(run: Path) -> Scalars:
    """The scalars of a run as TensorBoard reads them: name → (step, value) pairs."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def expected(run: Path) -> Scalars:
    history = load_checkpoint(run / "last.pt").history
    names = ("loss/train", "reconstruction/train", "kl/train", "loss/test", "reconstruction/test", "kl/test")
    values: Scalars = {
        name: [(metrics.epoch, np.float32(getattr(metrics, _field(name))).item()) for metrics in history]
        for name in (*names, "images_per_s", "active_units")
    }
    for dimension in range(len(history[0].test_kl_per_dimension)):
        values[f"test_kl_per_dimension/{dimension}"] = [
            (metrics.epoch, np.float32(metrics.test_kl_per_dimension[dimension]).item()) for metrics in history
        ]
    return values


def _field(name: str) -> str:
    """loss/test → test_loss."""
    return "_".join(reversed(name.split("/")))


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the pictures of a run, which take longer than these tests."""
    monkeypatch.setattr("trainer.pictures.draw_run", lambda *arguments: [])


def train_some(tmp_path: Path, *arguments: str) -> Path:
    pytest.importorskip("tensorboard")
    images = tmp_path / "images.npy"
    if not images.exists():
        np.save(images, np.random.default_rng(0).integers(0, 256, (60, 4, 4), np.uint8))
    run = tmp_path / "runs" / "a"
    new = ["--dataset", str(images), "--hidden", "6", "--latent-dim", "2", "--name", "a", "--runs", str(run.parent)]
    result = CliRunner().invoke(train, [*arguments, *(["--resume", str(run)] if run.exists() else new)])
    assert result.exit_code == 0, result.output
    return run


def test_tensorboard_shows_the_history(tmp_path: Path) -> None:
    run = train_some(tmp_path, "--epochs", "3", "--tensorboard")
    assert scalars(run) == expected(run)


def test_a_resumed_run_shows_every_epoch_once(tmp_path: Path) -> None:
    train_some(tmp_path, "--epochs", "1", "--tensorboard")
    train_some(tmp_path, "--epochs", "2")  # an epoch without events, as after a kill between the two
    run = train_some(tmp_path, "--epochs", "4", "--tensorboard")
    assert [step for step, _ in scalars(run)["loss/test"]] == [1, 2, 3, 4]
    assert scalars(run) == expected(run)


def test_the_events_of_an_epoch_can_be_read_before_the_next_begins(tmp_path: Path) -> None:
    """Keeps the writer alive: garbage collection would flush its buffer, which a killed process does not."""
    pytest.importorskip("tensorboard")
    events = Events(tmp_path)
    for epoch in (1, 2):
        events.add(EpochMetrics(epoch, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0))
        assert [step for step, _ in scalars(tmp_path)["loss/test"]] == list(range(1, epoch + 1))
    events.writer.close()


def test_events_that_cannot_be_written_give_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("no folder")
    with pytest.raises(OutputError, match=r"cannot write .*tensorboard: File exists"):
        Events(tmp_path)
