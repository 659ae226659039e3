"""The networks of the photo preset pass the parity gate in every format, also at odd sides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from export.bundle.build import export_bundle
from runtime.manifest import FORMATS, C
from runtime.sampler import Sampler
from trainer.data.dataset import ImageData
from trainer.settings import PRESETS
from trainer.training.api import train


def test_photo_model_is_exported_and_the_sampler_draws_what_the_model_decodes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    levels = random.integers(30, 220, (80, 1, 1, 3))
    images = (levels + random.normal(0, 8, (80, 13, 10, 3))).clip(0, 255).astype(np.uint8)
    data = ImageData("colours", images[:64], images[64:], None, None)
    settings = replace(PRESETS["photo"], hidden=(4, 6), latent_dim=3, epochs=2, augment="flip")
    run = train(data, settings=settings, runs=tmp_path, prior="normal", verbose=False)
    checkpoint = run.best
    assert checkpoint.build_model().log_variance is not None

    measurements = export_bundle(checkpoint, tmp_path / "bundle", formats=(*FORMATS, C))
    assert {measurement.graph for measurement in measurements} == {"decoder", "encoder", "sampler", "reconstructor"}
    sampler = Sampler(tmp_path / "bundle")
    z = sampler.latents(range(5), seed=3)
    with torch.no_grad():
        expected = checkpoint.build_model().decode(torch.from_numpy(z)).numpy()
    assert np.abs(sampler.decode(z) - expected).max() < 1e-5
