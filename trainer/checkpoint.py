"""The checkpoint: one `.pt` of tensors and plain types, complete for export and for resuming training."""

from __future__ import annotations

import io
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runtime.files.atomic import write_atomically
from runtime.prior import Prior
from trainer.errors import CheckpointError
from trainer.model.vae import VAE, ModelConfig
from trainer.settings import Settings
from trainer.torch_file import read_plain

FORMAT_VERSIONS = (1, 2)
"""1: without a fitted prior, drawn from N(0, I). 2: with a mixture, under `prior`."""
_KEYS = (
    "format_version",
    "model_state_dict",
    "optimizer_state_dict",
    "config",
    "history",
    "epoch",
    "rng_state",
    "reference_images",
    "versions",
)


@dataclass(frozen=True)
class EpochMetrics:
    """One row of the history. Losses in nats per image; those of training are means over the epoch."""

    epoch: int
    """From 1."""
    train_loss: float
    train_reconstruction: float
    train_kl: float
    test_loss: float
    test_reconstruction: float
    test_kl: float
    images_per_s: float
    """Training images per second, evaluation not counted."""
    active_units: int = 0
    """Latent dimensions whose posterior mean varies over test images by more than `ACTIVE_VARIANCE`."""
    test_kl_per_dimension: tuple[float, ...] = ()
    """The sum is `test_kl`."""


@dataclass(frozen=True)
class DataRecord:
    """The data set of a run."""

    name: str
    sha256: str
    train_images: int
    test_images: int
    entropy_floor: float | None
    """Lower limit of the mean reconstruction term on the test images, in nats per image; None if there is none."""


@dataclass(frozen=True)
class Checkpoint:
    """A run at the end of an epoch."""

    model_config: ModelConfig
    settings: Settings
    data: DataRecord
    model_state: dict[str, Tensor]
    optimizer_state: dict[str, Any]
    history: tuple[EpochMetrics, ...]
    reference_images: Tensor
    """Up to 256 test images, uint8 (N, H, W, C): an export is checked on them, without the data set."""
    versions: dict[str, str]
    prior: Prior | None = None
    """The mixture fitted to these weights, to draw samples from; None for N(0, I)."""

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.history[-1].epoch

    def build_model(self) -> VAE:
        """The model with its weights, on the CPU, in evaluation mode."""
        model = VAE(self.model_config)
        model.load_state_dict(self.model_state)
        return model.eval()

    def save(self, *paths: Path) -> None:
        """Write the same bytes to each path, atomically. Raises OutputError if a file cannot be written."""
        buffer = io.BytesIO()
        fitted = {} if self.prior is None else {"prior": _prior_state(self.prior)}
        torch.save(
            {
                "format_version": FORMAT_VERSIONS[len(fitted)],
                "model_state_dict": self.model_state,
                "optimizer_state_dict": self.optimizer_state,
                "config": {
                    "model": asdict(self.model_config),
                    "training": asdict(self.settings),
                    "data": asdict(self.data),
                },
                "history": [asdict(metrics) for metrics in self.history],
                "epoch": self.epoch,
                # Every draw is a function of (seed, purpose, epoch): these two numbers are the complete random state.
                "rng_state": {"seed": self.settings.seed, "epoch": self.epoch},
                "reference_images": self.reference_images,
                "versions": self.versions,
                **fitted,
            },
            buffer,
        )
        for path in paths:
            write_atomically(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read and check a checkpoint, on the CPU; no code in it is run.

    Raises CheckpointError if it is missing, damaged, of another format version, or not a checkpoint of vae-train.
    """
    path = Path(path)
    return checkpoint_of(read_plain(path), path)


def checkpoint_of(content: object, path: Path) -> Checkpoint:
    """Check what `read_plain` has read from `path`, and make a Checkpoint of it. Raises CheckpointError.

    path: named in error messages; it is not read again.
    """
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of vae-train, it holds a {type(content).__name__}")
    if "format_version" in content and (
        type(content["format_version"]) is not int or content["format_version"] not in FORMAT_VERSIONS
    ):
        expected = " or ".join(map(str, FORMAT_VERSIONS))
        raise CheckpointError(
            f"{path}: format_version should be {expected} but is {content['format_version']!r}; "
            "it was written by another version of vae-toolchain"
        )
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise CheckpointError(f"{path}: not a checkpoint of vae-train, it has no {', '.join(missing)}")
    try:
        config = content["config"]
        model = dict(config["model"])
        training = dict(config["training"])
        checkpoint = Checkpoint(
            model_config=ModelConfig(
                image_shape=tuple(model.pop("image_shape")), hidden=tuple(model.pop("hidden")), **model
            ),
            settings=Settings(hidden=tuple(training.pop("hidden")), **training),
            data=DataRecord(**config["data"]),
            model_state=content["model_state_dict"],
            optimizer_state=content["optimizer_state_dict"],
            history=tuple(_metrics(metrics) for metrics in content["history"]),
            reference_images=content["reference_images"],
            versions=content["versions"],
            prior=_read_prior(content["prior"]) if "prior" in content else None,
        )
        _check_shapes(checkpoint)
        model_state = checkpoint.build_model().state_dict()
    except Exception as error:  # anything may stand where a number or a table is expected
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: its content does not fit together: {reason}") from error
    _check_tensors(path, checkpoint, model_state)
    _check_records(path, checkpoint)
    return checkpoint


def current_versions() -> dict[str, str]:
    """Versions of Python, torch, numpy and this project, for a new checkpoint."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "vae-toolchain": version("vae-toolchain"),
    }


def _prior_state(prior: Prior) -> dict[str, Any]:
    """As tensors and plain types. uint32 travels as int64, which every torch can save and compare."""
    arrays = {
        name: torch.from_numpy(array.astype(np.int64) if array.dtype.kind == "u" else array)
        for name, array in prior.arrays().items()
    }
    return {"kind": "mixture", "classes": list(prior.classes), **arrays}


def _read_prior(content: dict[str, Any]) -> Prior:
    """Raises KeyError, TypeError, AttributeError or ValueError where it is no prior."""
    if content["kind"] != "mixture" or not all(isinstance(name, str) for name in content["classes"]):
        raise ValueError(f"its prior should be a mixture with names of classes but is {content['kind']!r}")
    arrays = {name: content[name].numpy() for name in ("shift", "scale", "component_class", "thresholds", "aliases")}
    for name in ("component_class", "thresholds", "aliases"):
        if arrays[name].dtype != np.int64 or (arrays[name] < -1).any() or (arrays[name] >= 2**32).any():
            raise ValueError(f"its prior's {name} should be int64 of small numbers but is {arrays[name].dtype}")
    for name in ("shift", "scale"):
        if arrays[name].dtype != np.float32:
            raise ValueError(f"its prior's {name} should be float32 but is {arrays[name].dtype}")
    for name in ("thresholds", "aliases"):
        arrays[name] = arrays[name].astype(np.uint32)  # -1 becomes a number that Prior refuses
    return Prior(**arrays, classes=tuple(content["classes"]))


def _metrics(row: dict[str, Any]) -> EpochMetrics:
    return EpochMetrics(**{**row, "test_kl_per_dimension": tuple(row["test_kl_per_dimension"])})


def _check_shapes(checkpoint: Checkpoint) -> None:
    """Raise ValueError where the weights have other shapes than the model, before it is built."""
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in VAE(checkpoint.model_config).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.model_state.items()}
    weights = sum(tensor.nbytes for tensor in checkpoint.model_state.values())
    held = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in checkpoint.model_state.values()}
    if weights > sum(storage.nbytes() for storage in held.values()):  # a file of one layer could claim a thousand
        raise ValueError(f"its weights are {weights:,} bytes, but share memory")
    differing = next((name for name in expected if found.get(name) != expected[name]), None)
    if differing is not None:
        raise ValueError(f"size mismatch for {differing}: {found.get(differing)} instead of {expected[differing]}")


def _check_tensors(path: Path, checkpoint: Checkpoint, model_state: dict[str, Tensor]) -> None:
    """model_state: the state of the built model, in which loading has converted the weights to its dtypes."""
    for name, tensor in checkpoint.model_state.items():
        if tensor.dtype != model_state[name].dtype:
            raise CheckpointError(f"{path}: weight {name} should be {model_state[name].dtype} but is {tensor.dtype}")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: weight {name} holds NaN or infinity")
    channels, height, width = checkpoint.model_config.image_shape
    images = checkpoint.reference_images
    if not isinstance(images, Tensor) or not len(images):
        raise CheckpointError(f"{path}: reference_images should be test images, but there are none")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, channels):
        raise CheckpointError(
            f"{path}: reference_images should be uint8 (N, {height}, {width}, {channels}) "
            f"but is {images.dtype} {tuple(images.shape)}"
        )


def _check_records(path: Path, checkpoint: Checkpoint) -> None:
    for row in checkpoint.history:
        numbers = [value for value in asdict(row).values() if not isinstance(value, tuple)]
        if not all(type(value) in (int, float) for value in (*numbers, *row.test_kl_per_dimension)):
            raise CheckpointError(f"{path}: its history should hold numbers but holds {row!r:.300}")
    latent_dim = checkpoint.model_config.latent_dim
    if checkpoint.prior is not None and checkpoint.prior.latent_dim != latent_dim:
        raise CheckpointError(
            f"{path}: its prior should have {latent_dim} latents but has {checkpoint.prior.latent_dim}"
        )
    if not checkpoint.history:
        raise CheckpointError(f"{path}: its history should have at least one epoch but is empty")
    texts = {"the name of the data": checkpoint.data.name, "the hash of the data": checkpoint.data.sha256}
    for what, text in texts.items():
        if not isinstance(text, str):
            raise CheckpointError(f"{path}: {what} should be text but is {text!r}")
    if not isinstance(checkpoint.versions, dict) or not isinstance(checkpoint.optimizer_state, dict):
        raise CheckpointError(f"{path}: versions and optimizer_state_dict should be dictionaries")
