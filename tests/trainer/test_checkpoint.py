"""A checkpoint is complete and contains no code; anything else gives a one-sentence error."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.errors import OutputError
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.errors import CheckpointError
from trainer.training.run_folder import Run


@pytest.fixture
def content(tiny_run: Run) -> dict[str, Any]:
    """The content of a valid checkpoint."""
    loaded: dict[str, Any] = torch.load(tiny_run.best, weights_only=True)
    return loaded


def save(content: object, tmp_path: Path) -> Path:
    torch.save(content, tmp_path / "changed.pt")
    return tmp_path / "changed.pt"


def test_a_checkpoint_is_readable_without_our_code_and_without_running_any(content: dict[str, Any]) -> None:
    assert content["format_version"] == 1
    assert content["epoch"] == len(content["history"])
    assert set(content["config"]) == {"model", "training", "data"}
    assert all(isinstance(tensor, torch.Tensor) for tensor in content["model_state_dict"].values())


def test_a_loaded_checkpoint_equals_the_saved_one(tmp_path: Path, random_checkpoint: Callable[..., Checkpoint]) -> None:
    saved = random_checkpoint()
    saved.save(tmp_path / "a.pt", tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert (loaded.model_config, loaded.settings, loaded.data) == (saved.model_config, saved.settings, saved.data)
    assert loaded.history == saved.history
    image = torch.rand(3, 1, 8, 6)
    for a, b in zip(loaded.build_model()(image), saved.build_model()(image), strict=True):
        assert (a == b).all()


def test_the_file_is_no_larger_than_necessary(tiny_run: Run, content: dict[str, Any]) -> None:
    """Weights, twice their size for Adam's two moments, the reference images, and a small rest."""
    weights = 4 * sum(tensor.numel() for tensor in content["model_state_dict"].values())
    assert tiny_run.best.stat().st_size < 3 * weights + content["reference_images"].numel() + 40_000


@pytest.mark.parametrize("size", [0, 1, 1000, -1])
def test_a_truncated_file_is_refused(tiny_run: Run, tmp_path: Path, size: int) -> None:
    (tmp_path / "a.pt").write_bytes(tiny_run.best.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"a\.pt: cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "a.pt")


class Payload:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [pickle.dumps, None], ids=["pickle", "torch.save"])
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path: Path, write: Any) -> None:
    payload = {"format_version": 1, "model_state_dict": Payload(tmp_path / "executed")}
    buffer = io.BytesIO(write(payload) if write else b"")
    if not write:
        torch.save(payload, buffer)
    (tmp_path / "a.pt").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="holds more than tensors and plain values"):
        load_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "executed").exists()


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file; train a model with vae-train"):
        load_checkpoint(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="is a folder; name the checkpoint in it"):
        load_checkpoint(tmp_path)


def test_another_format_version_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["format_version"] = 3
    with pytest.raises(CheckpointError, match="format_version should be 1 or 2 but is 3"):
        load_checkpoint(save(content, tmp_path))


@pytest.mark.parametrize("other", [[1, 2], {"weights": torch.zeros(2)}, torch.zeros(3)])
def test_a_file_that_is_not_a_checkpoint_is_refused(other: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a checkpoint of vae-train"):
        load_checkpoint(save(other, tmp_path))


def test_weights_that_are_not_finite_are_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["model_state_dict"]["mean.bias"][0] = float("nan")
    with pytest.raises(CheckpointError, match=r"weight mean\.bias holds NaN or infinity"):
        load_checkpoint(save(content, tmp_path))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("model", "latent_dim", 6),
        ("model", "hidden", [24]),
        ("model", "image_shape", [1, 12, 13]),
        ("model", "latent_dim", "five"),
        ("training", "unknown", 1),
        ("training", "epochs", 0),
        ("data", "name", None),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(
    content: dict[str, Any], tmp_path: Path, section: str, key: str, value: object
) -> None:
    if value is None:
        del content["config"][section][key]
    else:
        content["config"][section][key] = value
    with pytest.raises(CheckpointError, match="its content does not fit together"):
        load_checkpoint(save(content, tmp_path))


def test_a_refused_write_keeps_the_old_file(
    tmp_path: Path, random_checkpoint: Callable[..., Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    random_checkpoint(seed=1).save(path)
    before = path.read_bytes()

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(OutputError, match=r"cannot write .*a\.pt: No space left on device"):
        random_checkpoint(seed=2).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
