"""The text that `vae-train` prints about a run."""

from __future__ import annotations

from pathlib import Path

from trainer.checkpoint import Checkpoint, EpochMetrics
from trainer.data.dataset import ImageData
from trainer.model.vae import VAE
from trainer.settings import Settings
from trainer.training.execution import Execution
from trainer.training.run_folder import HELD_OUT

EPOCH_HEAD = "epoch   train loss   test loss   reconstruction      KL   active    images/s"


def introduction(
    settings: Settings,
    data: ImageData,
    model: VAE,
    execution: Execution,
    checkpoint: Checkpoint | None,
    folder: Path,
) -> str:
    """The data, model, settings, device and output folder of a run. checkpoint: the one to resume from, if any."""
    depth, height, width = data.image_shape
    parameters = sum(parameter.numel() for parameter in model.parameters())
    clip = f", clip {settings.clip_norm:g}" if settings.clip_norm else ""
    done = f", resuming after epoch {checkpoint.epoch}" if checkpoint else ""
    early = f"        or until {settings.patience} epochs have not lowered the test loss\n" if settings.patience else ""
    return (
        f"data    {data.name}: {len(data.train_images):,} + {len(data.test_images):,} images of "
        f"{height}×{width}×{depth}, sha256 {data.sha256[:8]}…\n"
        f"{_held_out(data)}"
        f"model   {model.architecture}, {parameters:,} parameters\n"
        f"train   {settings.epochs} epoch{'s' * (settings.epochs > 1)} of batch {settings.batch_size}, "
        f"Adam {settings.learning_rate:g}, "
        f"β {settings.beta:g}{clip}, seed {settings.seed}{done}\n"
        f"{early}"
        f"on      {execution.describe()}\n"
        f"into    {folder}\n"
        f"{_extended(settings, checkpoint)}"
    )


def _held_out(data: ImageData) -> str:
    """Which images are test images where there was no split, and where the decoded ones are kept."""
    lines = []
    if data.held_out:
        names = f", named in {HELD_OUT}" if data.test_files else ""
        lines.append(f"        the {len(data.test_images):,} are held out for testing{names}")
    if data.cache is not None:
        lines.append(f"cache   {data.cache}")
    return "".join(f"{line}\n" for line in lines)


def _extended(settings: Settings, checkpoint: Checkpoint | None) -> str:
    """What becomes of a cosine schedule whose number of epochs has changed."""
    if checkpoint is None or settings.schedule != "cosine" or settings.epochs == checkpoint.settings.epochs:
        return ""
    before, following = checkpoint.settings, checkpoint.epoch + 1
    return (
        f"rate    the cosine now falls over {settings.epochs} epochs instead of {before.epochs}:\n"
        f"        epoch {following} trains at {settings.learning_rate_in(following):.2g}, "
        f"after {before.learning_rate_in(checkpoint.epoch):.2g} in epoch {checkpoint.epoch}\n"
    )


def epoch_line(metrics: EpochMetrics) -> str:
    """The table row of one epoch, with the columns of `EPOCH_HEAD`; losses in nats per image."""
    return (
        f"{metrics.epoch:5d}   {metrics.train_loss:10.2f}   {metrics.test_loss:9.2f}   "
        f"{metrics.test_reconstruction:14.2f}   {metrics.test_kl:5.2f}   {metrics.active_units:6d}   "
        f"{metrics.images_per_s:9,.0f}"
    )


def anatomy(checkpoint: Checkpoint) -> str:
    """The best epoch of a run and the terms of its test loss."""
    settings, best = checkpoint.settings, min(checkpoint.history, key=lambda metrics: metrics.test_loss)
    floor = checkpoint.data.entropy_floor
    head = f"best    epoch {best.epoch}: test loss {best.test_loss:.2f} nats per image\n        "
    if settings.bound != "elbo":
        return (
            f"{head}the {settings.bound} bound of {settings.draws} draws; "
            f"reconstruction {best.test_reconstruction:.2f}, KL {best.test_kl:.2f}"
        )
    kl = f"{settings.beta:g} × {best.test_kl:.2f} KL"
    if settings.free_bits:
        kl += f", each dimension charged for at least {settings.free_bits:g}"
    if not floor:  # black-and-white pixels have no entropy
        reconstruction = "squared error" if settings.likelihood == "gaussian" else "reconstruction"
        return f"{head}= {best.test_reconstruction:.2f} {reconstruction} + {kl}"
    pixels = "gray pixels" if checkpoint.model_config.image_shape[0] == 1 else "colours"
    return (
        f"{head}= {floor:.2f} entropy of the {pixels}, which no model can avoid\n"
        f"        + {best.test_reconstruction - floor:.2f} excess + {kl}"
    )
