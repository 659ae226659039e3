"""Shared fixtures: small data, a small trained model, its bundle, and MNIST if available."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from export import Source
from export.bundle.build import export_bundle
from trainer.checkpoint import Checkpoint, DataRecord, EpochMetrics, current_versions
from trainer.data.dataset import ImageData
from trainer.model.vae import ModelConfig, build_model
from trainer.settings import Settings
from trainer.training.loop import fit
from trainer.training.run_folder import Run

torch.set_num_threads(1)  # the models here are so small that a second thread slows them down

# `nohup` and background jobs ignore these, and so would the commands that the tests start and then interrupt.
for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

TINY = Settings("tiny", hidden=(24, 16), latent_dim=5, batch_size=50, epochs=8, clip_norm=1.0, learning_rate=0.01)


@pytest.fixture(scope="session")
def tiny_settings() -> Settings:
    """Settings of a model that trains in under a second: 144-24-16-5 on `blobs`."""
    return TINY


@pytest.fixture(scope="session")
def blobs() -> ImageData:
    """520 gray images of 12×12, each a soft spot of random position and size; the label is the spot's quadrant."""
    random = np.random.default_rng(1)
    x, y = random.uniform(2, 10, (2, 520, 1, 1))
    radius = random.uniform(1, 3, (520, 1, 1))
    rows, columns = np.mgrid[:12, :12]
    images = np.rint(255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / radius**2)).astype(np.uint8)[..., None]
    labels = (2 * (y > 6) + (x > 6)).astype(np.int64).ravel()
    return ImageData("blobs", images[:400], images[400:], labels[:400], labels[400:])


@pytest.fixture(scope="session")
def tiny_run(blobs: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The folder of a finished run, with checkpoints and history."""
    run = Run.create(tmp_path_factory.mktemp("trained") / "runs", None, "tiny")
    for _ in fit(TINY, blobs, run):
        pass
    return run


@pytest.fixture(scope="session")
def _exported(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainer.checkpoint import load_checkpoint

    folder = tmp_path_factory.mktemp("exported") / "bundle"
    export_bundle(load_checkpoint(tiny_run.best), folder)
    return folder


@pytest.fixture
def bundle(_exported: Path, tmp_path: Path) -> Path:
    """A copy of the tiny trained model's bundle, in all formats, which a test may damage."""
    return Path(shutil.copytree(_exported, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def random_checkpoint() -> Callable[..., Checkpoint]:
    """A function that creates a checkpoint of an untrained model of any shape."""

    def make(
        seed: int = 0,
        image_shape: tuple[int, int, int] = (1, 8, 6),
        hidden: tuple[int, ...] = (11,),
        latent_dim: int = 3,
    ) -> Checkpoint:
        config = ModelConfig(image_shape, hidden, latent_dim)
        model = build_model(config, seed)
        channels, height, width = image_shape
        images = np.random.default_rng(seed).integers(0, 256, (64, height, width, channels), np.uint8)
        return Checkpoint(
            model_config=config,
            settings=Settings("random", hidden, latent_dim, batch_size=8, epochs=1, clip_norm=None),
            data=DataRecord("noise", "0" * 64, 64, 64, 0.0),
            model_state=model.state_dict(),
            optimizer_state={},
            history=(EpochMetrics(1, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0),),
            reference_images=torch.from_numpy(images),
            versions=current_versions(),
        )

    return make


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder named by VAE_DATA, which contains MNIST; skips the test if VAE_DATA is not set."""
    if "VAE_DATA" not in os.environ:
        pytest.skip("VAE_DATA does not name a folder with MNIST")
    folder = Path(os.environ["VAE_DATA"]).resolve()
    assert (folder / "MNIST" / "raw").is_dir(), f"VAE_DATA is {folder}, which holds no MNIST/raw"
    return folder


@pytest.fixture(scope="session")
def mixture_checkpoint(tiny_run: Run, blobs: ImageData) -> Checkpoint:
    """The tiny trained model with a mixture of four classes."""
    from dataclasses import replace

    from trainer.checkpoint import load_checkpoint
    from trainer.prior import fit_prior

    best = load_checkpoint(tiny_run.best)
    fitted = fit_prior(
        best.build_model(),
        blobs.train_images,
        blobs.train_labels,
        seed=0,
        class_names=("north west", "north east", "south west", "3"),
    )
    return replace(best, prior=fitted.prior)


@pytest.fixture(scope="session")
def _exported_mixture(mixture_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported-mixture") / "bundle"
    export_bundle(mixture_checkpoint, folder)
    return folder


@pytest.fixture(scope="session")
def _exported_unlabelled_mixture(tiny_run: Run, blobs: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of format 2 whose sampler has no input for a label: the tiny model, as if its images had no labels."""
    from dataclasses import replace

    from trainer.checkpoint import load_checkpoint
    from trainer.prior import fit_prior

    best = load_checkpoint(tiny_run.best)
    fitted = fit_prior(best.build_model(), blobs.train_images, None, seed=0)
    folder = tmp_path_factory.mktemp("exported-unlabelled-mixture") / "bundle"
    export_bundle(replace(best, prior=fitted.prior), folder)
    return folder


@pytest.fixture
def mixture_bundle(_exported_mixture: Path, tmp_path: Path) -> Path:
    """A bundle of format 2: the tiny model that draws from a mixture; a copy, to be damaged at will."""
    return Path(shutil.copytree(_exported_mixture, tmp_path / "mixture-bundle"))


@pytest.fixture(scope="session")
def spatial_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of somebody else's convolutional VAE: latents of 4×6×6, gray images of 24×24 in [-1, 1]; not to be
    changed. It holds int8 and fp16 variants too.
    """
    torch.manual_seed(0)
    decoder = nn.Sequential(
        nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.SiLU(),
        nn.ConvTranspose2d(4, 2, 4, 2, 1), nn.SiLU(),
        nn.Conv2d(2, 1, 3, padding=1), nn.Tanh(),
    )  # fmt: skip
    encoder = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.SiLU(), nn.Conv2d(16, 8, 4, 2, 1))
    with torch.no_grad():
        for layer in decoder:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.mul_(4)  # pictures with contrast, as a trained model makes them
    source = Source.of_modules(
        decoder=decoder.eval(),
        encoder=encoder.eval(),
        latent_shape=(4, 6, 6),
        image_shape=(1, 24, 24),
        value_range=(-1, 1),
        images=np.random.default_rng(0).integers(0, 256, (16, 24, 24, 1), np.uint8),
        encode=lambda module, image: tuple(module(image).chunk(2, 1)),
    )
    folder = tmp_path_factory.mktemp("spatial") / "bundle"
    export_bundle(source, folder, variants=["onnx-int8", "onnx-fp16"])
    return folder


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A built page of two files, in a folder of its own."""
    folder = tmp_path / "page"
    (folder / "vendor").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "vendor" / "a.wasm").write_bytes(b"\0asm")
    return folder
