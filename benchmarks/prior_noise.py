"""How much of the posteriors' variance the fitted prior should describe: samples of the mixtures of several shares.

VAE_DATA=… python benchmarks/prior_noise.py [RUN ...] [--share 1 --share 0.1]

RUN is a run of vae-train on MNIST. Copies would show as samples that are nearer to training images than reconstructions
of test images are.
"""

from pathlib import Path

import click
import torch

from runtime.machine.description import cpu
from trainer import load
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.data.dataset import ImageData
from trainer.evaluation.classifier import Judge, train_judge
from trainer.evaluation.evaluate import check_data
from trainer.evaluation.sample_quality import measure_samples, samples_of
from trainer.prior import fit_prior

SHARES = (1.0, 0.3, 0.1, 0.03, 0.0)
SAMPLES = 10_000


@click.command()
@click.argument("runs", type=click.Path(exists=True, path_type=Path), nargs=-1)
@click.option("--share", "shares", type=click.FloatRange(0, 1), multiple=True, default=SHARES, show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path), envvar="VAE_DATA", default="data", show_default=True)
def main(runs: tuple[Path, ...], shares: tuple[float, ...], data_dir: Path) -> None:
    """Fit a prior of each share to each run, and print a row for each."""
    data = load("mnist", data_dir)
    judge = train_judge(data, torch.device("cpu"))
    print(f"{cpu()['model']}; {SAMPLES:,} samples of seed 0; distances are medians, to the nearest training image")
    for run in runs or (Path("runs/latest"),):
        checkpoint = load_checkpoint(run / "best.pt")
        check_data(checkpoint, data)
        print(f"\n{run.name}: {checkpoint.settings.bound}, β {checkpoint.settings.beta:g}, epoch {checkpoint.epoch}")
        print(
            f"{'share':>9}{'components':>12}{'fitted in':>11}{'FID':>8}{'as asked':>10}{'distance':>10}{'nearest':>9}"
        )
        for share in shares:
            print_row(checkpoint, data, judge, share)


def print_row(checkpoint: Checkpoint, data: ImageData, judge: Judge, share: float) -> None:
    """Fit, draw, judge, and print what the samples are held against beside them."""
    model = checkpoint.build_model()
    fitted = fit_prior(model, data.train_images, data.train_labels, seed=checkpoint.settings.seed, share=share)
    quality = measure_samples(samples_of(model, fitted.prior, data, SAMPLES, seed=0), data, judge)
    verdict = quality.verdict
    assert verdict is not None
    assert verdict.agreement is not None
    print(
        f"{share:9g}{fitted.prior.components:12,}{fitted.seconds:9.1f} s{verdict.fid:8.2f}{verdict.agreement:10.1%}"
        f"{quality.distance:10.2f}{quality.nearest:9.2f}   reconstructions {verdict.reconstruction_fid:.2f}, "
        f"{quality.reconstruction_distance:.2f} from test images, {quality.copy_distance:.2f} from training images",
        flush=True,
    )


if __name__ == "__main__":
    main()
