"""Anybody's modules become a bundle; what does not fit is one sentence that names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export import ExportError, ModelError, Source, export_bundle, prune_latents
from export.formats.to_torchscript import load_torchscript
from runtime import Reconstructor, Sampler
from runtime.bundle import Bundle
from runtime.noise import standard_normal
from runtime.verify import verify_bundle
from trainer.prior import POSTERIOR_SHARE

LATENT, IMAGE = (2, 2, 2), (3, 4, 4)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), np.uint8)
MANY = np.random.default_rng(1).integers(0, 256, (240, 4, 4, 3), np.uint8)
CLASSES = np.arange(240) % 3


class Split(nn.Module):
    """(N, 2 L, …) → mean and log-variance."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = x.chunk(2, 1)
        return mean, log_var


def decoder() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose2d(2, 6, 4, 2, 1), nn.SiLU(), nn.Conv2d(6, 3, 3, padding=1), nn.Tanh()).eval()


def encoder() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 6, 4, 2, 1), nn.SiLU(), nn.Conv2d(6, 4, 3, padding=1), Split()).eval()


def source(**changed: Any) -> Source:
    given: dict[str, Any] = {
        "decoder": decoder(),
        "encoder": encoder(),
        "latent_shape": LATENT,
        "image_shape": IMAGE,
        "value_range": (-1, 1),
        "images": IMAGES,
    }
    return Source.of_modules(**{**given, **changed})


@pytest.fixture(scope="module")
def foreign_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign") / "bundle"
    export_bundle(source(), folder)
    return folder


def test_a_bundle_of_modules_passes_its_verification_and_draws_what_they_draw(foreign_bundle: Path) -> None:
    assert verify_bundle(foreign_bundle).passed
    z = torch.from_numpy(standard_normal(3, np.arange(5), 8)).view(5, *LATENT)
    with torch.no_grad():
        expected = ((decoder()(z) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    found = Sampler(foreign_bundle).sample(5, seed=3)
    assert np.abs(found - expected).max() <= 0.501
    assert found.std() > 0


def test_reconstructions_take_pixels_in_the_range_of_the_modules(foreign_bundle: Path) -> None:
    with torch.no_grad():
        mean, _ = encoder()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 127.5 - 1)
    found, _ = Reconstructor(foreign_bundle).encode(IMAGES)
    np.testing.assert_allclose(found, mean.flatten(1).numpy(), atol=1e-5)


def test_the_manifest_names_the_latent_shape_and_is_silent_for_vectors(foreign_bundle: Path, bundle: Path) -> None:
    assert Bundle.open(foreign_bundle).manifest.latent_shape == LATENT
    assert b"latent_shape" not in (bundle / "manifest.json").read_bytes()


def test_a_decoder_alone_has_two_graphs(tmp_path: Path) -> None:
    export_bundle(source(encoder=None, images=None), tmp_path / "b", variants=["onnx-fp16"])
    assert set(Bundle.open(tmp_path / "b").manifest.graphs) == {"decoder", "sampler"}
    assert verify_bundle(tmp_path / "b").passed
    with pytest.raises(Exception, match="has no encoder, only decoder, sampler"):
        Reconstructor(tmp_path / "b")


def test_the_reference_scales_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wrong scale in the graph's code is found, since the reference does not use that code."""
    from export.halves import ForeignDecoder

    def wrong(self: ForeignDecoder, z: Tensor) -> Tensor:
        image = self.module(torch.unflatten(z, 1, self.latent_shape))
        return (image / self.size).clamp(0.0, 1.0)

    monkeypatch.setattr(ForeignDecoder, "forward", wrong)
    with pytest.raises(ExportError, match="decoder in PyTorch eager: output 'image'"):
        export_bundle(source(), tmp_path / "b", formats=["onnx"])


class Branching(nn.Module):
    """Takes another path from a batch of 5, as diffusers' upsampling does from 64."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = decoder()

    def forward(self, z: Tensor) -> Tensor:
        return self.inner(z) if z.shape[0] < 5 else self.inner(z.contiguous().clone())


def test_a_largest_batch_is_recorded_and_kept(tmp_path: Path) -> None:
    given = source(decoder=Branching().eval())
    assert given.largest_batch == 4
    export_bundle(given, tmp_path / "b")
    assert Bundle.open(tmp_path / "b").manifest.largest_batch == 4
    sampler = Sampler(tmp_path / "b")
    assert sampler.block == 4
    z = sampler.latents(range(10))
    assert sampler.decode(z).shape == (10, *IMAGE)


def test_modules_that_cannot_be_scripted_are_traced(tmp_path: Path) -> None:
    inner = decoder()
    export_bundle(
        source(decoder=inner, decode=lambda module, z: {"sample": module(z)}["sample"]),
        tmp_path / "b",
        formats=["torchscript"],
    )
    assert (tmp_path / "b" / "sampler.pt").exists()


def test_a_mixture_around_a_traced_decoder_has_a_sampler_in_torchscript(tmp_path: Path) -> None:
    given = source(images=MANY, prior="mixture", labels=CLASSES, decode=lambda module, z: {"x": module(z)}["x"])
    export_bundle(given, tmp_path / "b", formats=["torchscript"])
    sampler = load_torchscript((tmp_path / "b" / "sampler.pt").read_bytes())
    assert sampler.component(torch.arange(4), torch.tensor([-1, 0, 1, 2])).shape == (4,)


def test_an_encoder_may_give_a_distribution() -> None:
    """torch.distributions check their arguments by a branch on values."""

    def encode(module: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = module(image)
        posterior = torch.distributions.Normal(mean, (log_var / 2).exp())
        return posterior.loc, 2 * posterior.scale.log()

    source(encode=encode)
    with pytest.raises(ValueError, match="parameter scale"):
        torch.distributions.Normal(torch.zeros(1), -torch.ones(1))  # checked as before


class Wrapped(nn.Module):
    """A decoder whose `forward` is given."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.inner = decoder()
        self._given = forward

    def forward(self, z: Tensor) -> Any:
        return self._given(self.inner, z)


def wrapped(forward: Callable[[nn.Module, Tensor], Any]) -> dict[str, nn.Module]:
    return {"decoder": Wrapped(forward).eval()}


def three_outputs(_: nn.Module, image: Tensor) -> Any:
    mean, log_var = encoder().double()(image)
    return mean, log_var, mean


def on_another_device() -> nn.Module:
    return decoder().to("meta")


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(48), nn.Unflatten(1, IMAGE)).eval()


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "training mode": (lambda: {"decoder": decoder().train()}, "is in training mode"),
    "randomness": (lambda: wrapped(lambda m, z: m(z + torch.randn_like(z))), "draws random numbers"),
    "a fixed batch": (lambda: wrapped(lambda m, z: m(z.reshape(4, *LATENT))), "its batch is fixed"),
    "rows that depend on others": (lambda: wrapped(lambda m, z: m(z - z.mean(0))), "with the other rows of its batch"),
    "a branch on values": (lambda: wrapped(lambda m, z: m(z) if z.sum() > -1e9 else m(-z)), "branches on the values"),
    "a wrong latent shape": (lambda: {"latent_shape": (3, 2, 2)}, r"cannot run an input of .*\(4, 3, 2, 2\)"),
    "a wrong image shape": (
        lambda: {"image_shape": (3, 8, 8), "images": IMAGES.repeat(2, 1).repeat(2, 2)},
        r"should have the shape \(4, 3, 8, 8\) but have \(4, 3, 4, 4\)",
    ),
    "outputs outside the range": (lambda: {"value_range": (0, 1)}, r"reach from -.* outside the value_range \[0, 1\]"),
    "three outputs": (lambda: {"encode": three_outputs}, r"gives 3 of the shapes"),
    "a dict": (lambda: wrapped(lambda m, z: {"sample": m(z)}), "but gives a dict"),
    "another device": (lambda: {"decoder": on_another_device()}, "is on meta; move the decoder"),
    "half precision": (lambda: {"decoder": decoder().half()}, "is float16, but bundles compute in float32"),
    "lazy weights": (lambda: {"decoder": lazy()}, "is lazy and has no shape yet"),
    "another module in the adapter": (lambda: {"decode": lambda m, z: decoder()(z.float())}, "gives float32"),
    "no images": (lambda: {"images": None}, "there are none"),
    "images of floats": (lambda: {"images": IMAGES / 255}, "but are float64"),
    "a range upside down": (lambda: {"value_range": (1, -1)}, "value_range should be"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_does_not_fit_is_one_sentence(fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    change, message = REFUSED[fault]
    with pytest.raises(ModelError, match=message) as caught:
        source(**change())
    assert "\n" not in str(caught.value)
    assert "".join(capfd.readouterr()) == ""


class Copies(nn.Module):
    """A perfect encoder of images into latents of their own shape, with small constant variance."""

    def __init__(self, swapped: bool = False) -> None:
        super().__init__()
        self.swapped = swapped

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        outputs = image, torch.full_like(image, -5.0)
        return outputs[::-1] if self.swapped else outputs


def test_swapped_outputs_of_a_trained_encoder_are_refused() -> None:
    decoder_of_copies = nn.Hardtanh().eval()
    source(decoder=decoder_of_copies, encoder=Copies().eval(), latent_shape=IMAGE)
    with pytest.raises(ModelError, match="mean and log-variance in this order"):
        source(decoder=decoder_of_copies, encoder=Copies(swapped=True).eval(), latent_shape=IMAGE)


@pytest.fixture(scope="module")
def with_prior() -> Source:
    return source(images=MANY, prior="mixture", labels=CLASSES, class_names=("cat", "dog", "owl"))


def test_a_mixture_fitted_to_the_images_is_drawn_from(with_prior: Source, tmp_path: Path) -> None:
    export_bundle(with_prior, tmp_path / "b", formats=["onnx", "torchscript"])
    assert verify_bundle(tmp_path / "b").passed
    sampler = Sampler(tmp_path / "b")
    assert sampler.classes == ("cat", "dog", "owl")
    assert set(sampler.labels(range(9), label="dog")) == {1}
    with torch.no_grad():
        values = torch.from_numpy(MANY / np.float32(255)).permute(0, 3, 1, 2)
        mean, log_var = (output.double() for output in with_prior.model.encode(values))
    drawn = sampler.latents(range(4000), seed=3)
    np.testing.assert_allclose(drawn.mean(0), mean.mean(0), atol=0.02)
    described = mean.var(0, correction=0) + POSTERIOR_SHARE * log_var.exp().mean(0)
    np.testing.assert_allclose(drawn.var(0), described, rtol=0.15)
    card = (tmp_path / "b" / "README.md").read_text()
    assert "a mixture of" in card
    assert "for the classes cat, dog, owl" in card


def test_a_mixture_without_labels_has_no_classes() -> None:
    prior = source(images=MANY, prior="mixture").prior
    assert prior is not None
    assert prior.classes == ()
    assert prior.to_npz() == source(images=MANY, prior="mixture").prior.to_npz()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": "gauss"}, "prior should be normal or mixture, but is 'gauss'"),
        ({"labels": CLASSES[:8]}, "labels are for a mixture"),
        ({"prior": "mixture"}, "needs at least 100 images but there are 8"),
        ({"prior": "mixture", "encoder": None}, "there is no encoder"),
        ({"prior": "mixture", "images": MANY, "labels": CLASSES[:-1]}, r"should be integers \(240,\)"),
        ({"prior": "mixture", "images": MANY, "labels": CLASSES / 2}, "but are float64"),
        ({"prior": "mixture", "images": MANY, "labels": CLASSES, "class_names": ("a", "b")}, "class_names has 2 names"),
    ],
)
def test_a_prior_that_cannot_be_fitted_is_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        source(**change)


def test_foreign_latents_are_not_pruned() -> None:
    with pytest.raises(ExportError, match="models of this project only"):
        prune_latents(source())


def test_global_random_state_is_left_alone() -> None:
    made = decoder(), encoder()
    before = torch.get_rng_state()
    source(decoder=made[0], encoder=made[1])
    assert torch.equal(before, torch.get_rng_state())


def test_the_graphs_are_the_same_bytes_twice(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        export_bundle(source(), tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]
