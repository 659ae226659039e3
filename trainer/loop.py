"""Training: the whole data set on the device, one epoch after the other, saved after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.checkpoint import Checkpoint, DataRecord, EpochMetrics, current_versions
from trainer.data import ImageData
from trainer.errors import SettingsError, TrainingError
from trainer.evaluate import evaluate
from trainer.flat import flatten_parameters
from trainer.model import VAE, ModelConfig, build_model
from trainer.objectives import bernoulli_entropy_floor, bernoulli_nll, kl_to_standard_normal, to_float
from trainer.run import Run
from trainer.seeds import derive_seed, generator
from trainer.settings import Settings

_REFERENCE_IMAGES = 256


def fit(
    settings: Settings,
    data: ImageData,
    run: Run,
    *,
    device: torch.device,
    advance: Callable[[int], object] = lambda images: None,
) -> Iterator[Checkpoint]:
    """Train a new model; after each epoch save `last.pt`, perhaps `best.pt`, and `history.csv`, and yield the state.

    advance: called after each step with the number of images done, for a progress bar. Raises TrainingError when the
    loss is no longer finite; the checkpoints of the epochs before stay.
    """
    # ---- the whole data set on the device, as uint8 ----
    train_images = torch.tensor(data.train_images, device=device)
    test_images = torch.tensor(data.test_images, device=device)
    record = DataRecord(
        name=data.name,
        sha256=data.sha256,
        train_images=len(train_images),
        test_images=len(test_images),
        entropy_floor=bernoulli_entropy_floor(data.test_images),
    )

    # ---- model and optimiser ----
    config = ModelConfig(data.image_shape, settings.hidden, settings.latent_dim)
    state = TrainingState.start(config, settings, device)

    # ---- epochs ----
    history: list[EpochMetrics] = []
    for epoch in range(1, settings.epochs + 1):
        started = time.perf_counter()
        reconstruction, kl = train_epoch(state, train_images, settings, epoch, advance)
        seconds = time.perf_counter() - started
        test = evaluate(state.model, test_images, beta=settings.beta, seed=settings.seed)
        history.append(
            EpochMetrics(
                epoch=epoch,
                train_loss=reconstruction + settings.beta * kl,
                train_reconstruction=reconstruction,
                train_kl=kl,
                test_loss=test.loss,
                test_reconstruction=test.reconstruction,
                test_kl=test.kl,
                images_per_s=len(train_images) / seconds,
            )
        )
        _check_finite(history, run)
        checkpoint = Checkpoint(
            model_config=config,
            settings=settings,
            data=record,
            model_state={name: tensor.clone() for name, tensor in state.model.state_dict().items()},
            optimizer_state=state.optimizer.state_dict(),
            history=tuple(history),
            reference_images=test_images[:_REFERENCE_IMAGES].cpu().clone(),  # a view would save all test images
            versions=current_versions(),
        )
        is_best = test.loss == min(metrics.test_loss for metrics in history)
        checkpoint.save(run.last, *([run.best] if is_best else []))
        run.write_history(history)
        yield checkpoint


@dataclass(frozen=True)
class TrainingState:
    """What training changes: the weights, and what the optimiser remembers of their gradients."""

    model: VAE
    weights: nn.Parameter
    """All weights of the model in one vector, see `flatten_parameters`."""
    optimizer: torch.optim.Optimizer

    @classmethod
    def start(cls, config: ModelConfig, settings: Settings, device: torch.device) -> TrainingState:
        """Fresh weights, a function of the seed alone, and Adam."""
        model = build_model(config, derive_seed(settings.seed, "weights")).to(device)
        weights = flatten_parameters(model)
        return cls(model, weights, torch.optim.Adam([weights], lr=settings.learning_rate, fused=True))


def train_epoch(
    state: TrainingState,
    images: Tensor,
    settings: Settings,
    epoch: int,
    advance: Callable[[int], object] = lambda images: None,
) -> tuple[float, float]:
    """One pass over `images`, uint8 (N, H, W, C). Mean reconstruction and KL in nats per image, as trained on.

    The order of the images and the noise depend on (seed, epoch) alone.
    """
    model, device = state.model, images.device
    model.train()
    # The epoch's order and noise are drawn at once and then only sliced.
    order = torch.randperm(len(images), generator=generator(settings.seed, "order", epoch)).to(device)
    shuffled = images[order]
    noise = torch.randn(
        len(images),
        settings.latent_dim,
        device=device,
        generator=generator(settings.seed, "noise", epoch, device=device),
    )
    totals = torch.zeros(2, dtype=torch.float64, device=device)  # read once, after the last step

    for start in range(0, len(images), settings.batch_size):
        image = to_float(shuffled[start : start + settings.batch_size])  # (B, C, H, W)
        mean, log_var = model.encode(image)  # (B, L) each
        z = model.reparameterize(mean, log_var, noise[start : start + settings.batch_size])  # (B, L)
        reconstruction = bernoulli_nll(model.decode_logits(z), image).sum()
        kl = kl_to_standard_normal(mean, log_var).sum()

        state.optimizer.zero_grad(set_to_none=False)
        (reconstruction + settings.beta * kl).backward()
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(state.weights, settings.clip_norm)
        state.optimizer.step()

        totals += torch.stack([reconstruction.detach(), kl.detach()])
        advance(len(image))

    model.eval()
    mean_reconstruction, mean_kl = (totals / len(images)).tolist()
    return mean_reconstruction, mean_kl


def _check_finite(history: list[EpochMetrics], run: Run) -> None:
    newest = history[-1]
    if math.isfinite(newest.train_loss) and math.isfinite(newest.test_loss):
        return
    kept = f"{run.last} holds epoch {newest.epoch - 1}" if newest.epoch > 1 else "no epoch was finished"
    raise TrainingError(
        f"the loss is no longer finite in epoch {newest.epoch} (train {newest.train_loss}, test {newest.test_loss}); "
        f"{kept}; try a lower --learning-rate or --clip-norm 1"
    )


def choose_device(name: str) -> torch.device:
    """auto, cpu or cuda as a device; auto takes a GPU where there is one. Raises SettingsError where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: torch finds no CUDA device on this machine; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
