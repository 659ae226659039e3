"""State dicts of other projects: recognised by tensor names and shapes, otherwise refused with every difference."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.source.load import load_source


class Examples(nn.Module):
    """784-40-7, as in the PyTorch examples."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 40), nn.Linear(40, 7), nn.Linear(40, 7)
        self.fc3, self.fc4 = nn.Linear(7, 40), nn.Linear(40, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.fc1(x.flatten(1)).relu()
        mean = self.fc21(hidden)
        return self.fc4(self.fc3(mean).relu()).sigmoid(), mean, self.fc22(hidden)


class Shared(nn.Module):
    """784-32-32-6, with a shared encoder and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_shared = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.fc_mu, self.fc_logvar = nn.Linear(32, 6), nn.Linear(32, 6)
        self.decoder = nn.Sequential(
            nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 784), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.encoder_shared(x.flatten(1))
        mean = self.fc_mu(hidden)
        return self.decoder(mean), mean, self.fc_logvar(hidden)


def save(content: object, folder: Path) -> Path:
    path = folder / "model.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", [Examples, Shared])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_foreign_model_gives_the_same_outputs_here(kind: type[nn.Module], wrapped: bool, tmp_path: Path) -> None:
    theirs = kind()
    state = theirs.state_dict()
    path = save(
        {"model_state_dict": state, "config": {"epochs": 3}, "history": {"loss": [1.0]}} if wrapped else state, tmp_path
    )
    source = load_source(path, tmp_path)
    image = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        expected, mean, log_var = theirs(image)
        reconstruction, our_mean, our_log_var = source.model(image)
    torch.testing.assert_close(reconstruction.flatten(1), expected)
    torch.testing.assert_close(our_mean, mean)
    torch.testing.assert_close(our_log_var, log_var)
    assert source.reference_images.shape == (256, 28, 28, 1)
    assert source.reference_images.std() > 0


def test_prefixes_of_wrapping_modules_are_ignored(tmp_path: Path) -> None:
    state = {f"_orig_mod.module.{key}": value for key, value in Shared().state_dict().items()}
    assert load_source(save(state, tmp_path), tmp_path).model.architecture == "784-32-32-6"


def test_what_is_not_recognised_is_listed_key_by_key(tmp_path: Path) -> None:
    state = Examples().state_dict()
    del state["fc22.bias"]
    state["conv.weight"] = torch.zeros(3, 3)
    with pytest.raises(ExportError) as caught:
        load_source(save(state, tmp_path), tmp_path)
    assert "fc22.bias: missing" in str(caught.value)
    assert "conv.weight: not expected, torch.float32 (3, 3)" in str(caught.value)


def test_tensors_that_do_not_fit_together_are_listed_with_what_was_expected(tmp_path: Path) -> None:
    state = Examples().state_dict()
    state["fc3.weight"] = torch.zeros(41, 7)
    with pytest.raises(ExportError, match=r"fc3\.weight: expected \(40, 7\), found \(41, 7\)"):
        load_source(save(state, tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fc4.bias", torch.full((784,), torch.nan), "fc4.bias holds NaN"),
        ("fc1.weight", torch.zeros(40), "fc1.weight: expected 2 dimensions"),
        ("fc1.weight", torch.zeros(40, 700), "700 pixels, which is not a square"),
        ("fc1.bias", [1.0], "should be a tensor of floats but is list"),
    ],
)
def test_unusable_tensors_are_refused_by_name(key: str, value: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        load_source(save({**Examples().state_dict(), key: value}, tmp_path), tmp_path)
