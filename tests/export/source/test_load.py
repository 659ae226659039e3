"""`load_source`: which files it accepts, that each is read once, and that no code in a file is run."""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from export.errors import ExportError
from export.source.load import load_source
from export.source.source import Source
from trainer.checkpoint import load_checkpoint
from trainer.errors import CheckpointError
from trainer.model.vae import VAE, ModelConfig
from trainer.training.run_folder import Run

# As in the PyTorch examples.
THEIR_LAYERS = {"encoder.1": "fc1", "mean": "fc21", "log_var": "fc22", "decoder.0": "fc3", "decoder.2": "fc4"}


def foreign_state_dict() -> dict[str, torch.Tensor]:
    state = VAE(ModelConfig((1, 28, 28), (40,), 7)).state_dict()
    return {f"{THEIR_LAYERS[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}


def test_a_checkpoint_gives_its_own_model_images_and_provenance(tiny_run: Run, tmp_path: Path) -> None:
    loaded, expected = load_source(tiny_run.best, tmp_path), Source.of_checkpoint(load_checkpoint(tiny_run.best))
    assert loaded.provenance == expected.provenance
    assert loaded.likelihood == expected.likelihood
    assert (loaded.reference_images == expected.reference_images).all()
    for found, tensor in zip(loaded.model.state_dict().values(), expected.model.state_dict().values(), strict=True):
        assert torch.equal(found, tensor)


@pytest.mark.parametrize("ours", [True, False])
def test_a_file_is_read_once(ours: bool, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_run.best
    if not ours:
        path = tmp_path / "model.pth"
        torch.save(foreign_state_dict(), path)
    load, read = torch.load, []

    def counted(file: BinaryIO, **options: Any) -> object:
        read.append(file)
        return load(file, **options)

    monkeypatch.setattr(torch, "load", counted)
    load_source(path, tmp_path)
    assert len(read) == 1


def test_safetensors_are_recognised_by_content_and_not_by_name(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = foreign_state_dict()
    safetensors.save_file(state, tmp_path / "model.bin")
    loaded = load_source(tmp_path / "model.bin", tmp_path).model.state_dict()
    assert (loaded["mean.weight"] == state["fc21.weight"]).all()


class Trap:
    """A malicious pickle: loading it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("writer", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_file_is_refused_and_never_run(writer: object, tmp_path: Path) -> None:
    path, sign = tmp_path / "model.pth", tmp_path / "executed"
    writer({"model_state_dict": Trap(sign)}, path)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        load_source(path, tmp_path)
    assert not sign.exists()


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x10" + b"\0" * 7 + b"{broken json...}"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises((ExportError, CheckpointError), match=r"model\.pth: "):
        load_source(path, tmp_path)


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pt")
    with pytest.raises(ExportError, match=r"list\.pt: should hold a state dict but holds a list"):
        load_source(tmp_path / "list.pt", tmp_path)
