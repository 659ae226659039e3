"""Golden values: two files with the same content, which matches the model and the noise contract."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from export.noise import Noise
from runtime.noise import standard_normal
from trainer.checkpoint import load_checkpoint
from trainer.training.run_folder import Run


@pytest.fixture
def golden(bundle: Path) -> dict[str, np.ndarray]:
    with np.load(bundle / "golden.npz") as file:
        return dict(file)


def test_json_holds_the_same_bits_as_npz(golden: dict[str, np.ndarray], bundle: Path) -> None:
    content = json.loads((bundle / "golden.json").read_text())
    assert content.keys() == golden.keys()
    for name, entry in content.items():
        array = np.array(entry["data"], dtype=entry["dtype"]).reshape(entry["shape"])
        assert array.dtype == golden[name].dtype
        assert array.shape == golden[name].shape
        assert array.tobytes() == golden[name].tobytes(), name


def test_integers_in_json_are_strings_because_javascript_would_round_them(bundle: Path) -> None:
    assert json.loads((bundle / "golden.json").read_text())["index"]["data"][-1] == str(2**63 - 1)


def test_latents_are_those_of_the_contract(golden: dict[str, np.ndarray]) -> None:
    assert (golden["latents"] == standard_normal(int(golden["seed"]), golden["index"], 5)).all()
    assert golden["index"].max() > 2**53


def test_images_are_those_of_the_model(golden: dict[str, np.ndarray], tiny_run: Run) -> None:
    model = load_checkpoint(tiny_run.best).build_model()
    with torch.no_grad():
        image = model.decode(torch.from_numpy(golden["latents"])).numpy()
        mean, log_var = model.encode(torch.from_numpy(golden["encoder_image"]))
        reconstruction = model.decode(mean).numpy()
    np.testing.assert_allclose(golden["decoder_image"], image, atol=1e-6)
    np.testing.assert_allclose(golden["encoder_mean"], mean, atol=1e-6)
    np.testing.assert_allclose(golden["encoder_log_var"], log_var, atol=1e-6)
    for name, floats in (("sampler_image", image), ("reconstructor_image_out", reconstruction)):
        assert np.abs(golden[name] - 255 * floats.transpose(0, 2, 3, 1)).max() <= 0.5001
    assert (golden["reconstructor_image_in"] == np.rint(255 * golden["encoder_image"].transpose(0, 2, 3, 1))).all()


@pytest.mark.parametrize("latent_dim", [1, 2, 4, 7, 32])
@pytest.mark.parametrize("seed", [0, 7, 2**32 + 1, 2**63 - 1])
def test_noise_module_gives_the_bits_of_the_runtime(latent_dim: int, seed: int) -> None:
    index = np.array([0, 1, 5, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1])
    noise = Noise(latent_dim)(torch.tensor(seed), torch.from_numpy(index)).numpy()
    assert noise.shape == (len(index), latent_dim)
    assert noise.tobytes() == standard_normal(seed, index, latent_dim).tobytes()
