"""The fitted prior beside N(0, I) on several data sets: FID in the features of a classifier of that data, and copies.

VAE_DATA=… python benchmarks/prior_table.py [--case glyphs --case shapes] [--epochs 20] [--views 250000]

Cases: mnist (preset tutorial), glyphs (digits drawn from fonts), shapes (a folder of colour images, drawn here, in two
classes), few (200 images of MNIST). --run DIR evaluates a run that is there already, such as one of preset conv.
"""

import os
import tempfile
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image, ImageDraw

from runtime.machine.description import cpu
from trainer import load, train
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.data.dataset import ImageData
from trainer.evaluation.evaluate import evaluate_checkpoint

SHAPES, SIDE, FEW = 6000, 32, 200
CASES = ("mnist", "glyphs", "shapes", "few")


@click.command()
@click.option("--case", "cases", type=click.Choice(CASES), multiple=True, help="Only these.  [default: all]")
@click.option(
    "--run", "run_folders", type=click.Path(exists=True, path_type=Path), multiple=True, help="A trained run."
)
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True, help="More where the steps need them.")
@click.option(
    "--views",
    type=click.IntRange(1),
    default=250_000,
    show_default=True,
    help="Images shown in training, at least: 20 epochs of 200 images would leave the model untrained.",
)
def main(cases: tuple[str, ...], run_folders: tuple[Path, ...], epochs: int, views: int) -> None:
    """Train each case and print its row."""
    print(f"{cpu()['model']}; 10,000 samples of seed 0; FID in the features of a classifier of the same data")
    print(f"{'':30}{'components':>11}{'N(0, I)':>9}{'mixture':>9}{'reconstr.':>10}{'real':>7}", end="")
    print(f"{'as asked':>10}  copies")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases or (() if run_folders else CASES):
            data = dataset(case, Path(folder))
            enough = max(epochs, views // len(data.train_images))
            run = train(data, runs=Path(folder) / "runs", name=case, epochs=enough, verbose=False)
            print_row(case, run.best, data)
        for run_folder in run_folders:
            checkpoint = load_checkpoint(run_folder / "best.pt")
            print_row(
                f"{checkpoint.data.name}, {checkpoint.settings.preset}", checkpoint, dataset("mnist", Path(folder))
            )


def dataset(case: str, folder: Path) -> ImageData:
    """The images of a case; those that are drawn are written to `folder`."""
    if case == "glyphs":
        return load("glyphs")
    if case == "shapes":
        draw_shapes(folder / "shapes")
        return load(folder / "shapes", image_size=SIDE)
    mnist = load("mnist", os.environ["VAE_DATA"])
    if case == "mnist":
        return mnist
    assert mnist.train_labels is not None
    assert mnist.test_labels is not None
    np.savez(
        folder / "few.npz",
        train_images=mnist.train_images[:FEW],
        train_labels=mnist.train_labels[:FEW],
        test_images=mnist.test_images,
        test_labels=mnist.test_labels,
    )
    return load(folder / "few.npz")


def draw_shapes(folder: Path) -> None:
    """Discs and boxes of random colour, place and size on a random ground, one folder for each of the two classes."""
    random = np.random.default_rng(0)
    for name in ("boxes", "discs"):
        (folder / name).mkdir(parents=True)
        for number in range(SHAPES // 2):
            ground, colour = (tuple(random.integers(0, 256, 3).tolist()) for _ in range(2))
            picture = Image.new("RGB", (4 * SIDE, 4 * SIDE), ground)
            x, y = random.uniform(0.35, 0.65, 2) * 4 * SIDE
            width, height = random.uniform(0.12, 0.32, 2) * 4 * SIDE
            pen = ImageDraw.Draw(picture)
            draw = pen.rectangle if name == "boxes" else pen.ellipse
            draw((x - width, y - height, x + width, y + height), fill=colour)
            picture.resize((SIDE, SIDE), Image.Resampling.BOX).save(folder / name / f"{number:04}.png")


def print_row(name: str, checkpoint: Checkpoint, data: ImageData) -> None:
    """Evaluate and print."""
    found = evaluate_checkpoint(
        checkpoint, data, k=1, images_with_k=2, samples=10_000, seed=0, device=torch.device("cpu")
    )
    verdict = found.sample_quality.verdict
    assert checkpoint.prior is not None
    assert verdict is not None
    assert verdict.agreement is not None
    print(
        f"{f'{name}, {len(data.train_images):,} images':30}{checkpoint.prior.components:11,}"
        f"{verdict.normal_fid:9.2f}{verdict.fid:9.2f}{verdict.reconstruction_fid:10.2f}{verdict.real_fid:7.2f}"
        f"{verdict.agreement:10.1%}  {'warned' if found.sample_quality.copies else 'none'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
