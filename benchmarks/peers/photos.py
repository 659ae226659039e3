"""Compare preset `photo` with preset `conv` and pythae's convolutional VAE on colour photos, at equal processor time.

    make bench-photos        # in an environment of its own, with pythae, scikit-image and torchmetrics

Each model trains on one thread for --seconds of processor time, evaluation after each epoch included. PSNR and MS-SSIM
are those of reconstructions of held-out crops through the posterior mean, averaged over images; FID is of 2,000
samples, in the features of this project's own classifier of the two classes, so it compares only the rows of one table.
Samples come from the prior of each package: the fitted mixture here, N(0, I) in pythae.

A model that is not trained yet continues where it stopped: --portion limits what one call trains.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from photo_crops import write_crops
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

from runtime.images.png import save_png
from runtime.images.sheet import grid
from runtime.machine.description import cpu
from trainer import load, train
from trainer.checkpoint import load_checkpoint
from trainer.data.dataset import ImageData
from trainer.data.pixels import to_float
from trainer.errors import TrainingInterruptedError
from trainer.evaluation.classifier import train_judge
from trainer.evaluation.sample_quality import draw_samples, frechet_distance
from trainer.pictures import to_uint8

METHODS = ("photo", "conv", "pythae")
_SAMPLES = 2000
_SHOWN = 10
# The first three weights of Wang, Simoncelli & Bovik 2003, normalised: five scales need sides over 160.
_SCALE_WEIGHTS = tuple(weight / 0.6305 for weight in (0.0448, 0.2856, 0.3001))


class Portion:
    """Counts the processor time of one training over several calls, and says when a call has used its own."""

    def __init__(self, file: Path, limit: float) -> None:
        self._file, self._start, self._end = file, time.process_time(), time.monotonic() + limit
        self._before: float = json.loads(file.read_text()) if file.is_file() else 0.0

    def seconds(self) -> float:
        """Seconds of processor time so far."""
        return self._before + time.process_time() - self._start

    def is_over(self) -> bool:
        return time.monotonic() > self._end

    def save(self) -> None:
        self._file.write_text(json.dumps(self.seconds()))


def train_ours(
    preset: str, data: ImageData, folder: Path, seconds: float, limit: float, changes: dict[str, Any]
) -> bool:
    """Train as many epochs as fit into `seconds`, `limit` of them in this call. Returns whether all are done."""
    run = folder / preset
    if not (run / "last.pt").is_file():
        shutil.rmtree(run, ignore_errors=True)  # killed in its first epoch
        marks: list[float] = []
        with tempfile.TemporaryDirectory() as pace:
            train(
                data, preset, epochs=3, runs=pace, verbose=False, threads=1, prior="normal",
                on_epoch=lambda metrics, model: marks.append(time.process_time()), **changes,
            )  # fmt: skip
        epochs = max(1, int(seconds / (marks[2] - marks[1])))
        arguments: dict[str, Any] = {"preset": preset, "runs": folder, "name": preset, "epochs": epochs, **changes}
    else:
        arguments = {"resume": run}
    portion = Portion(folder / f"{preset}.seconds", limit)

    def stop(metrics: Any, model: Any) -> None:
        portion.save()
        if portion.is_over():
            raise KeyboardInterrupt

    try:
        train(data, threads=1, verbose=True, on_epoch=stop, **arguments)
    except TrainingInterruptedError:
        return False
    portion.save()
    return True


def build_pythae(data: ImageData, latent_dim: int) -> Any:
    """pythae's VAE with the convolutional networks that it ships for this side."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.nn.benchmarks import celeba, cifar

    side = data.image_shape[1]
    config = VAEConfig(input_dim=data.image_shape, latent_dim=latent_dim, reconstruction_loss="mse")
    if side == 32:
        encoder, decoder = cifar.Encoder_Conv_VAE_CIFAR(config), cifar.Decoder_Conv_AE_CIFAR(config)
    else:
        encoder, decoder = celeba.Encoder_Conv_VAE_CELEBA(config), celeba.Decoder_Conv_AE_CELEBA(config)
    return VAE(config, encoder, decoder)


def train_pythae(data: ImageData, latent_dim: int, folder: Path, seconds: float, limit: float) -> bool:
    """Train with Adam at 0.001 and batches of 64 until `seconds` are over. Returns whether they are."""
    torch.manual_seed(0)
    model = build_pythae(data, latent_dim)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    file, images = folder / "pythae.pt", torch.from_numpy(data.train_images)
    step = 0
    if file.is_file():
        state = torch.load(file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    portion = Portion(folder / "pythae.seconds", limit)
    model.train()
    while portion.seconds() < seconds and not portion.is_over():
        draw = torch.Generator().manual_seed(step)
        chosen = torch.randperm(len(images), generator=draw)[:64]
        loss = model({"data": to_float(images[chosen])}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, file)
    portion.save()
    return portion.seconds() >= seconds


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Mean over images of the peak signal-to-noise ratio, in dB: uint8 (N, H, W, C) twice."""
    error = np.square(a.astype(np.float64) - b).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / error.clip(1e-3))))


@torch.no_grad()
def results(method: str, data: ImageData, latent_dim: int, folder: Path) -> tuple[Tensor, Tensor, int, int]:
    """Reconstructions of the test images, samples, parameters and training steps."""
    image = to_float(torch.tensor(data.test_images))
    parts = image.split(100)
    if method == "pythae":
        model = build_pythae(data, latent_dim)
        state = torch.load(folder / "pythae.pt", weights_only=True)
        model.load_state_dict(state["model"])
        model.eval()
        torch.manual_seed(0)
        reconstruction = torch.cat([model.decoder(model.encoder(part).embedding).reconstruction for part in parts])
        samples = torch.cat(
            [model.decoder(torch.randn(100, latent_dim)).reconstruction for _ in range(_SAMPLES // 100)]
        )
        steps = state["step"]
    else:
        checkpoint = load_checkpoint(folder / method / "best.pt")
        model = checkpoint.build_model()
        reconstruction = torch.cat([model(part)[0] for part in parts])
        samples = draw_samples(model, checkpoint.prior, _SAMPLES, 0)
        steps = checkpoint.epoch * math.ceil(len(data.train_images) / checkpoint.settings.batch_size)
    return reconstruction, samples, sum(parameter.numel() for parameter in model.parameters()), steps


def print_table(data: ImageData, latent_dim: int, folder: Path, methods: tuple[str, ...]) -> None:
    """A row for each method, and the pictures reconstructions.png and samples-METHOD.png in `folder`."""
    judge = train_judge(data, torch.device("cpu"))
    features = judge.judge_pixels(torch.tensor(data.train_images))[0].double().numpy()

    def fid(image: Tensor) -> float:
        return frechet_distance(judge.judge(image)[0].double().numpy(), features)

    real = to_float(torch.tensor(data.test_images))
    print(f"\n{data!r}, one thread of {cpu()['model']}; FID of real test images {fid(real):.1f}")
    print(f"{'':10} parameters   steps   seconds   PSNR dB   MS-SSIM   FID reconstructions   FID samples")
    rows = [data.test_images[:_SHOWN]]
    for method in methods:
        reconstruction, samples, parameters, steps = results(method, data, latent_dim, folder)
        pixels = to_uint8(reconstruction)
        similarity = ms_ssim(
            reconstruction, real, gaussian_kernel=False, kernel_size=7, data_range=1.0, betas=_SCALE_WEIGHTS
        )
        seconds: float = json.loads((folder / f"{method}.seconds").read_text())
        print(
            f"{method:10} {parameters:10,}   {steps:5,}   {seconds:7.0f}   {psnr(pixels, data.test_images):7.2f}   "
            f"{float(similarity):7.3f}   {fid(reconstruction):19.1f}   {fid(samples):11.1f}"
        )
        rows.append(pixels[:_SHOWN])
        scale = 96 // data.image_shape[1]
        save_png(folder / f"samples-{method}.png", grid(to_uint8(samples[: 3 * _SHOWN]), _SHOWN, scale=scale))
    save_png(folder / "reconstructions.png", grid(np.concatenate(rows), _SHOWN, scale=96 // data.image_shape[1]))


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("runs/photos"), show_default=True)
@click.option("--sides", default="32,64", show_default=True)
@click.option("--images", type=int, default=3000, show_default=True)
@click.option("--seconds", type=float, default=600, show_default=True, help="Processor time for each model.")
@click.option("--portion", type=float, default=math.inf, help="Most seconds that one call trains.")
@click.option("--methods", default=",".join(METHODS), show_default=True)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="A setting of preset photo.")
def main(
    folder: Path, sides: str, images: int, seconds: float, portion: float, methods: str, changes: tuple[str, ...]
) -> None:
    """Train what is not trained yet, and print the tables."""
    torch.set_num_threads(1)
    chosen = tuple(methods.split(","))
    settings = {name: json.loads(value) for name, _, value in (change.partition("=") for change in changes)}
    for side in map(int, sides.split(",")):
        base = folder / str(side)
        photos = base / "crops"
        if not photos.is_dir():
            write_crops(photos, side, images)
        data = load(photos)
        latent_dim = 64 if side <= 32 else 128
        for method in chosen:
            done = base / f"{method}.done"
            if done.is_file():
                continue
            if method == "pythae":
                finished = train_pythae(data, latent_dim, base, seconds, portion)
            else:
                finished = train_ours(method, data, base, seconds, portion, settings if method == "photo" else {})
            if not finished:
                raise click.ClickException(f"{method} at {side} is not trained to its end; run this again")
            done.touch()
        print_table(data, latent_dim, base, chosen)


if __name__ == "__main__":
    main()
