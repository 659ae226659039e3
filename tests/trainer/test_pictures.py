"""The pictures of a run are valid image files and open no window."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.checkpoint import load_checkpoint
from trainer.data.dataset import ImageData
from trainer.pictures import draw_run, latent_space, write_test_images
from trainer.training.run_folder import Run


def test_a_run_gets_its_five_pictures(tmp_path: Path, tiny_run: Run, blobs: ImageData) -> None:
    files = draw_run(load_checkpoint(tiny_run.best), load_checkpoint(tiny_run.best), blobs, tmp_path)
    assert [path.stem for path in files] == [
        "training_curves", "reconstructions", "samples", "latent_space", "interpolation",
    ]  # fmt: skip
    for path in files:
        with Image.open(path) as image:
            assert min(image.size) > 100
            assert np.ptp(np.asarray(image.convert("L"))) > 100  # not blank
    assert "matplotlib.pyplot" not in sys.modules


def test_images_without_labels_are_drawn_too(tmp_path: Path, tiny_run: Run, blobs: ImageData) -> None:
    unlabelled = ImageData("blobs", blobs.train_images, blobs.test_images, None, None)
    assert len(draw_run(load_checkpoint(tiny_run.best), load_checkpoint(tiny_run.best), unlabelled, tmp_path)) == 5


@pytest.mark.filterwarnings("error")
def test_any_name_of_a_class_is_drawn_as_it_is(tmp_path: Path, tiny_run: Run, blobs: ImageData) -> None:
    """A formula between dollars that is none, no formula, a sign that the font lacks, and an escape sequence."""
    named = replace(blobs, class_names=(r"$\frac$", "a$b$c", "\N{CJK UNIFIED IDEOGRAPH-732B}", "\x1b[31m"))
    best = load_checkpoint(tiny_run.best)
    assert len(draw_run(best, best, named, tmp_path)) == 5
    shown = latent_space(best.build_model(), named).axes[0].get_legend()
    assert shown is not None
    assert [text.get_text() for text in shown.get_texts()][:2] == [r"\$\frac\$", r"a\$b\$c"]


def test_test_images_are_saved_pixel_for_pixel(tmp_path: Path, blobs: ImageData) -> None:
    write_test_images(blobs, tmp_path, count=3)
    for i in range(3):
        with Image.open(tmp_path / f"{i}.png") as image:
            assert (np.asarray(image) == blobs.test_images[i, :, :, 0]).all()
