"""A small classifier, trained on the real images: classifies generated images and provides the features for FID."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.files.atomic import write_atomically
from trainer.data.cache import cache_folder
from trainer.data.dataset import ImageData
from trainer.data.pixels import to_float
from trainer.errors import CheckpointError, DataError
from trainer.seeds import derive_seed, generator
from trainer.torch_file import read_plain

FEATURES = 64
_BATCH, _EVALUATION_BATCH = 128, 1000
_FEWEST_STEPS, _MOST_STEPS = 400, 1400  # three epochs within these limits: small data sets are seen more often
_PEAK_RATE = 4e-3
_VERSION = 1  # version of the network and its training; part of the cache key


@dataclass(frozen=True)
class Judge:
    """A trained classifier and its accuracy."""

    network: Classifier
    classes: tuple[int, ...]
    """The label of each output."""
    shares: tuple[float, ...]
    """Share of each label among the training images, in the order of `classes`."""
    accuracy: float
    """Share of the real test images that are classified correctly."""
    seconds: float
    """Duration of its training; 0 if it was loaded from the cache."""

    @torch.no_grad()
    def judge(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, 64) and probabilities (N, classes) of float32 images (N, C, H, W) in [0, 1]; both on the CPU."""
        features, probabilities = [], []
        for part in image.split(_EVALUATION_BATCH):
            # torch picks the convolution kernel by strides, even those of axes of length 1, and kernels round
            # differently: fix the memory format.
            feature = self.network.features(part.clone(memory_format=torch.contiguous_format))
            features.append(feature.cpu())
            probabilities.append(self.network.head(feature).softmax(1).cpu())
        return torch.cat(features), torch.cat(probabilities)

    def judge_pixels(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """`judge` for uint8 images (N, H, W, C), which are converted in batches."""
        parts = [self.judge(to_float(part)) for part in pixels.split(_EVALUATION_BATCH)]
        return torch.cat([features for features, _ in parts]), torch.cat([probability for _, probability in parts])


class Classifier(nn.Module):
    """Two convolutions and two fully connected layers; the first fully connected layer gives the features."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(7),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, image: Tensor) -> Tensor:
        """float32 (N, C, H, W) in [0, 1] → logits (N, classes)."""
        logits: Tensor = self.head(self.features(image))
        return logits


def train_judge(
    data: ImageData, device: torch.device, advance: Callable[[int, int], object] = lambda step, steps: None
) -> Judge:
    """The classifier for `data`: loaded from the cache, or trained and stored there.

    advance: called after each training step with the step's number and the number of steps. Raises DataError if `data`
    has no labels.
    """
    if data.train_labels is None or data.test_labels is None:
        raise DataError(f"{data.name}: has no labels, so no classifier can be trained on it")
    digest = hashlib.sha256(data.sha256.encode() + data.train_labels.tobytes() + bytes([_VERSION])).hexdigest()
    path = cache_folder() / f"classifier-{digest[:16]}.pt"
    classes, targets, counts = np.unique(data.train_labels, return_inverse=True, return_counts=True)
    network = Classifier(data.image_shape[0], len(classes))
    started = time.perf_counter()
    if path.exists():
        _load_into(network, path)
        seconds = 0.0
    else:
        network = _train(data, torch.from_numpy(targets), len(classes), device, advance)
        seconds = time.perf_counter() - started
        buffer = io.BytesIO()
        torch.save(network.cpu().state_dict(), buffer)
        write_atomically(path, buffer.getvalue())
    shares = tuple((counts / counts.sum()).tolist())
    judge = Judge(network.to(device).eval(), tuple(classes.tolist()), shares, 0.0, seconds)
    _, probabilities = judge.judge_pixels(torch.tensor(data.test_images, device=device))
    right = classes[probabilities.argmax(1).numpy()] == data.test_labels
    return replace(judge, accuracy=float(right.mean()))


def _train(
    data: ImageData, targets: Tensor, classes: int, device: torch.device, advance: Callable[[int, int], object]
) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, "weights"))
        network = Classifier(data.image_shape[0], classes)
    network.to(device).train()
    images, targets = torch.tensor(data.train_images, device=device), targets.to(device)
    steps = min(max(_FEWEST_STEPS, 3 * len(images) // _BATCH), _MOST_STEPS)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, total_steps=steps)
    draw = generator(0, "order")
    order = torch.empty(0, dtype=torch.int64)
    for step in range(1, steps + 1):
        if len(order) < min(_BATCH, len(images)):
            order = torch.randperm(len(images), generator=draw)
        chosen, order = order[:_BATCH].to(device), order[_BATCH:]
        loss = F.cross_entropy(network(to_float(images[chosen])), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        advance(step, steps)
    return network


def _load_into(network: Classifier, path: Path) -> None:
    """Raises DataError where the file is not of the weights of such a network."""
    try:
        state = read_plain(path)
        if not isinstance(state, dict) or not all(isinstance(weight, Tensor) for weight in state.values()):
            raise ValueError("it holds no weights")
        network.load_state_dict(state)
    except (CheckpointError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: the cached classifier cannot be read; delete it ({type(error).__name__})") from error
