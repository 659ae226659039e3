"""A grid of models on one data set. Finished cells are stored, so an interrupted sweep can be resumed."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import torch

from runtime.errors import OutputError
from runtime.files.atomic import write_atomically
from runtime.files.regular import read_text
from trainer.checkpoint import load_checkpoint
from trainer.data.dataset import ImageData
from trainer.errors import SettingsError
from trainer.evaluation.evaluate import Evaluation, evaluate_checkpoint
from trainer.settings import Settings
from trainer.training.execution import Execution
from trainer.training.loop import fit
from trainer.training.run_folder import Run

NLL_SAMPLES, NLL_IMAGES = 500, 200
"""Samples k of a cell's NLL, and the number of test images that get all k; see `importance_nll`."""
SAMPLES = 1000
"""Generated images per cell that the classifier scores."""
_RECORD = "cell.json"


@dataclass(frozen=True)
class Cell:
    """A finished cell: its settings in the grid, and its scores on the test images."""

    name: str
    latent_dim: int
    hidden: str
    """Sizes of the hidden layers, as in 256×256."""
    batch_norm: bool
    parameters: int
    loss: float
    """Test loss (the training objective) of the best epoch, in nats per image, as in the history."""
    reconstruction: float
    """−log p(x|z) of the test images without binarisation, in nats per image."""
    kl: float
    """KL of the posterior to the prior, in nats per image."""
    active_units: int
    """Latent dimensions that are active by the variance of the posterior mean."""
    nll: float
    """Importance-weighted NLL in nats per image; of binarised images if the likelihood is Bernoulli, else unchanged."""
    fid: float | None
    """Fréchet distance in the features of a classifier; None without labels, like the next two."""
    real_fid: float | None
    confidence: float | None
    seconds: float
    """Duration of training, with the evaluation after each epoch."""


def make_grid(
    base: Settings, latent_dims: Sequence[int], hiddens: Sequence[tuple[int, ...]], batch_norms: Sequence[bool]
) -> dict[str, Settings]:
    """The settings of every combination, by folder name; an empty sequence keeps the value of `base`.

    A hidden with one size is repeated for as many layers as `base` has.
    """
    sizes = [hidden * len(base.hidden) if len(hidden) == 1 else hidden for hidden in hiddens] or [base.hidden]
    grid = {}
    for latent_dim, hidden, norm in itertools.product(
        latent_dims or [base.latent_dim], sizes, batch_norms or [base.batch_norm]
    ):
        name = f"latent{latent_dim}-hidden{'x'.join(map(str, hidden))}{'-norm' if norm else ''}"
        grid[name] = replace(base, latent_dim=latent_dim, hidden=hidden, batch_norm=norm)
    return grid


def run_cell(
    folder: Path,
    settings: Settings,
    data: ImageData,
    *,
    device: torch.device,
    advance: Callable[[int], object] = lambda images: None,
) -> tuple[Cell, bool]:
    """Train and score one cell in `folder`, unless it is finished already. Returns the cell and whether it is new.

    An interrupted cell is trained again from the start. Raises SettingsError if `folder` holds a damaged cell or one
    with other settings or data, and OutputError if the folder cannot be created.
    """
    identity = {"settings": _plain(settings), "data": data.sha256}
    record = folder / _RECORD
    if record.exists():
        try:
            known = json.loads(read_text(record))
            _check_same(folder, known, identity)
            return _cell(known["cell"]), False
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(f"{record}: is damaged; remove {folder} to train this cell again") from error

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
    run = Run(folder)
    started = time.perf_counter()
    for _ in fit(settings, data, run, execution=Execution(device), advance=advance):
        pass
    seconds = time.perf_counter() - started
    checkpoint = load_checkpoint(run.best)
    found = evaluate_checkpoint(
        checkpoint,
        data,
        k=NLL_SAMPLES,
        images_with_k=min(NLL_IMAGES, len(data.test_images)),
        samples=SAMPLES,
        seed=settings.seed,
        device=device,
    )
    best = checkpoint.history[-1]
    cell = _summarise(folder.name, settings, found, best.test_loss, seconds)
    write_atomically(record, (json.dumps({**identity, "cell": asdict(cell)}, indent=1) + "\n").encode())
    return cell, True


def _summarise(name: str, settings: Settings, found: Evaluation, loss: float, seconds: float) -> Cell:
    as_they_are = next(iter(found.protocols.values()))
    scored = found.protocols.get("binarised", as_they_are)
    verdict = found.sample_quality.verdict
    return Cell(
        name=name,
        latent_dim=settings.latent_dim,
        hidden="×".join(map(str, settings.hidden)),
        batch_norm=settings.batch_norm,
        parameters=found.parameters,
        loss=loss,
        reconstruction=as_they_are.elbo.total.reconstruction,
        kl=as_they_are.elbo.total.kl,
        active_units=as_they_are.elbo.active_by_variance,
        nll=scored.nll.nll,
        fid=verdict.fid if verdict else None,
        real_fid=verdict.real_fid if verdict else None,
        confidence=verdict.confidence if verdict else None,
        seconds=seconds,
    )


def _plain(settings: Settings) -> dict[str, Any]:
    return dict(json.loads(json.dumps(asdict(settings))))


def _cell(values: dict[str, Any]) -> Cell:
    """The cell of a record. Raises TypeError where a field is missing, unknown, or no such value."""
    cell = Cell(**values)
    for name, kind in get_type_hints(Cell).items():
        if not isinstance(getattr(cell, name), kind):
            raise TypeError(f"{name} is {getattr(cell, name)!r}")
    return cell


def _check_same(folder: Path, known: dict[str, Any], identity: dict[str, Any]) -> None:
    if known["data"] != identity["data"]:
        raise SettingsError(f"{folder} was trained on other data; choose another --name for this sweep")
    before, now = known["settings"], identity["settings"]
    defaults = _plain(Settings())  # of settings that are newer than the record
    differing = [key for key in now if before.get(key, defaults[key]) != now[key]]
    if differing:
        changes = ", ".join(f"{key} {before.get(key)} instead of {now[key]}" for key in differing)
        raise SettingsError(f"{folder} was trained with {changes}; choose another --name for this sweep")
