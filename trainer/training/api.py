"""`train`: from data and a preset to a folder with checkpoints, history, configuration and pictures.

`vae-train` parses its options and calls `train_run`, as `train` does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from runtime.files.atomic import write_atomically
from runtime.images.png import save_png
from runtime.text import wrapped
from trainer import pictures
from trainer.checkpoint import Checkpoint, EpochMetrics, load_checkpoint
from trainer.data.dataset import DataSource, ImageData
from trainer.data.load import load
from trainer.data.numpy_files import save_arrays
from trainer.errors import CheckpointError, SettingsError, TrainingInterruptedError
from trainer.model.vae import VAE
from trainer.settings import PRESETS, PRIORS, Settings, adapted, preset_for
from trainer.training import collapse
from trainer.training.config import config_text
from trainer.training.console import EPOCH_HEAD, anatomy, epoch_line, introduction
from trainer.training.execution import Execution
from trainer.training.loop import fit
from trainer.training.progress import TrainingBar
from trainer.training.resume import check_resumable
from trainer.training.run_folder import Run
from trainer.training.settle_prior import settle_prior
from trainer.training.state import fresh_model
from trainer.training.tensorboard import Events, check_tensorboard
from trainer.training.trained import TrainedRun
from trainer.training.warnings import few_steps_warning, same_image_warning, slow_bf16_warning

OnEpoch = Callable[[EpochMetrics, VAE], object]
"""Called after each epoch with its figures and the model, a copy on the CPU in evaluation mode."""
OpenRun = Callable[[ExitStack], tuple[Run, Checkpoint | None]]
"""Opens the folder of a run, puts its lock on the stack, and returns it with the checkpoint to resume from, if any."""


def train(
    data: ImageData | str | Path,
    preset: str | None = None,
    *,
    settings: Settings | None = None,
    runs: str | Path = "runs",
    name: str | None = None,
    resume: str | Path | None = None,
    device: str = "auto",
    graph: bool = True,
    threads: int | None = None,
    tensorboard: bool = False,
    prior: str = PRIORS[0],
    verbose: bool = True,
    on_epoch: OnEpoch | None = None,
    **changes: Any,
) -> TrainedRun:
    """Train a VAE, and return its run: the same folder as `vae-train` makes, which `vae-train --resume` continues.

    data: what `load` returns, or its first argument. preset: a name in PRESETS; None takes photo for colour images and
    sides over 32, otherwise tutorial. changes: fields of `Settings` that differ from the preset, such as epochs=20.
    settings: all settings at once, instead of preset and changes.
    runs, name: parent folder and name of the new run; None numbers it. resume: the folder of a run to continue with the
    same data after its last finished epoch; its settings are used, of which epochs and patience may be changed.
    device: auto (a GPU if there is one), cpu or cuda. graph: on a GPU, run the step as a CUDA graph. threads: of the
    CPU; None keeps torch's number. tensorboard: also write events. prior: mixture or normal, what samples are drawn
    from. verbose: print what `vae-train` prints.
    on_epoch: called after each epoch with its `EpochMetrics` and the model.

    Raises SettingsError, DataError, OutputError, or TrainingError where a loss is not finite. Ctrl-C raises
    TrainingInterruptedError, a KeyboardInterrupt; the finished epochs are saved.
    """
    if not isinstance(data, ImageData):
        data = load(data)
    if resume is not None:
        if preset is not None or settings is not None:
            raise SettingsError("a resumed run keeps its settings; leave preset and settings out")
        settings = _settings_of_run(Run.open(resume), changes)
    elif settings is not None:
        if preset is not None or changes:
            raise SettingsError("give either settings, or a preset and what differs from it")
    else:
        settings = choose_settings(preset, changes, data)
    if prior not in PRIORS:
        raise SettingsError(f"prior should be {' or '.join(PRIORS)} but is {prior!r}")
    if tensorboard:
        check_tensorboard()
    execution = Execution.choose(settings, device=device, graph=graph, threads=threads)

    def open_run(held: ExitStack) -> tuple[Run, Checkpoint | None]:
        if resume is not None:
            return reopen_run(Path(resume), settings, data, held)
        return create_run(runs, name, settings, data, execution, prior, held), None

    say: Callable[[str], object] = print if verbose else lambda text: None
    return train_run(
        settings,
        data,
        execution,
        open_run,
        prior=prior,
        tensorboard=tensorboard,
        on_epoch=on_epoch,
        say=say,
        bar=verbose,
    )


def choose_settings(preset: str | None, changes: dict[str, Any], data: ImageData) -> Settings:
    """The settings of `preset`, or of the one that suits `data`, with `changes`; a clip_norm of 0 means no clipping.

    Raises SettingsError for unknown names.
    """
    preset = preset or preset_for(data.image_shape)
    if preset not in PRESETS:
        raise SettingsError(f"preset should be one of {', '.join(PRESETS)} but is {preset!r}")
    _check_names(changes)
    changes = {**changes, **({"clip_norm": None} if changes.get("clip_norm") == 0 else {})}
    return replace(adapted(preset, data.image_shape, len(data.train_images)), **changes)


def create_run(
    runs: str | Path,
    name: str | None,
    settings: Settings,
    data: ImageData,
    execution: Execution,
    prior: str,
    held: ExitStack,
) -> Run:
    """A new folder with its `config.toml`; data that was not loaded from a file or by name is saved in it.

    held: keeps the lock of the run. Raises SettingsError if `name` is taken, and OutputError if writing fails.
    """
    run = Run.create(runs, name, f"{Path(data.name).stem}-{settings.preset}")
    held.enter_context(run.owned())
    if run.config.exists():
        raise SettingsError(f"{run.folder} already exists; choose another --name or remove it")
    source = data.source
    if source is None:
        save_arrays(data, run.arrays)
        source = DataSource(str(run.arrays.resolve()))
    if data.held_out and data.test_files:
        write_atomically(
            run.held_out, "".join(f"{name}\n" for name in data.test_files).encode("utf-8", "surrogateescape")
        )
    write_atomically(run.config, config_text(settings, source, execution, prior).encode())
    return run


def reopen_run(folder: Path, settings: Settings, data: ImageData, held: ExitStack) -> tuple[Run, Checkpoint | None]:
    """The run in `folder`, and its newest checkpoint if an epoch was finished.

    held: keeps the lock of the run. Raises SettingsError if `folder` is no run or the run had other settings or data,
    and CheckpointError if the checkpoint cannot be read or continued, see `check_resumable`.
    """
    run = Run.open(folder)
    held.enter_context(run.owned())  # before the newest checkpoint is read, and until the pictures are drawn
    if not run.last.is_file():
        return run, None
    checkpoint = _load_last(run)
    check_resumable(settings, data.sha256, checkpoint)
    return run, checkpoint


def train_run(
    settings: Settings,
    data: ImageData,
    execution: Execution,
    open_run: OpenRun,
    *,
    prior: str = PRIORS[0],
    tensorboard: bool = False,
    on_epoch: OnEpoch | None = None,
    say: Callable[[str], object] = lambda text: None,
    bar: bool = True,
) -> TrainedRun:
    """Train all epochs, and draw the pictures. Everything has been checked before.

    open_run: locks and gives the folder, and the checkpoint to resume from, on rank 0. say: called with each piece of
    text for the user. bar: show a progress bar, on a terminal or in a notebook.
    """
    with ExitStack() as held:
        return _train_run(settings, data, execution, lambda: open_run(held), prior, tensorboard, on_epoch, say, bar)


def _train_run(
    settings: Settings,
    data: ImageData,
    execution: Execution,
    open_run: Callable[[], tuple[Run, Checkpoint | None]],
    prior: str,
    tensorboard: bool,
    on_epoch: OnEpoch | None,
    say: Callable[[str], object],
    bar: bool,
) -> TrainedRun:
    team = execution.team
    model = fresh_model(settings, data)
    run, checkpoint = team.from_first(open_run)
    say(introduction(settings, data, model, execution, checkpoint, run.folder))
    for warning in (
        *data.warnings,
        few_steps_warning(settings, len(data.train_images)),
        slow_bf16_warning(settings, execution.device),
    ):
        if warning:
            say(f"{wrapped(f'warning {warning}')}\n")

    # ---- train ----
    writes_events = tensorboard and team.leads
    events = Events(run.folder, checkpoint.history if checkpoint else ()) if writes_events else None
    say(EPOCH_HEAD)
    try:
        with TrainingBar(settings, len(data.train_images), checkpoint, say, shown=bar) as progress:
            epochs = fit(
                settings, data, run, execution=execution, model=model, checkpoint=checkpoint, advance=progress.update
            )
            for checkpoint in epochs:
                metrics = checkpoint.history[-1]
                trained = checkpoint.build_model()
                progress.say(epoch_line(metrics))
                for warning in (
                    collapse.collapse_warning(checkpoint.history, settings),
                    same_image_warning(trained, data, settings, metrics.epoch),
                ):
                    if warning:
                        progress.say(wrapped(f"        {warning}"))
                if not team.leads:
                    continue
                sheet = pictures.preview(trained, data.test_images)
                save_png(run.preview, sheet)
                if events is not None:
                    events.add(metrics)
                    events.add_preview(sheet, metrics.epoch)
                if on_epoch is not None:
                    on_epoch(metrics, trained)
            progress.say(_stopped(settings, checkpoint))
    except KeyboardInterrupt:
        saved = "the finished epochs are saved" if run.last.is_file() else "no epoch was finished"
        raise TrainingInterruptedError(f"interrupted; {saved}; resume with: vae-train --resume {run.folder}") from None
    assert checkpoint is not None  # a new run has at least one epoch
    team.leave()
    if not team.leads:
        return TrainedRun(run)

    _finish(run, data, checkpoint, prior, execution, say)
    return TrainedRun(run)


def _finish(
    run: Run, data: ImageData, checkpoint: Checkpoint, prior: str, execution: Execution, say: Callable[[str], object]
) -> None:
    """Fit the prior, and draw the pictures. checkpoint: of the last epoch."""
    say(f"\n{anatomy(checkpoint)}")
    try:
        best, fitted = settle_prior(run, data, prior, execution.device)
    except KeyboardInterrupt:
        raise TrainingInterruptedError(
            f"interrupted; trained, but the prior is not fitted; resume with: vae-train --resume {run.folder}"
        ) from None
    if fitted is not None:
        say(wrapped(f"prior   {fitted.summary()}"))

    # ---- show the result ----
    save_png(run.preview, pictures.preview(best.build_model(), data.test_images, best.prior))
    drawn = pictures.draw_run(checkpoint, best, data, run.pictures)
    images = pictures.write_test_images(data, run.folder / "test_images")
    say(wrapped(f"wrote   {run.best}, {run.last.name}, history.csv, history.jsonl, config.toml"))
    say(wrapped(f"        {run.pictures}/ {', '.join(path.stem for path in drawn)}"))
    say(f"        {images}/ a few test images, to try vae-reconstruct on")


def _stopped(settings: Settings, checkpoint: Checkpoint | None) -> str:
    """The message where patience ended the run early, otherwise empty; it names the cure for overfitting."""
    if checkpoint is None or checkpoint.epoch >= settings.epochs:
        return ""
    text = f"stopped early: no lower test loss in {settings.patience} epochs (--patience)"
    best = min(checkpoint.history, key=lambda metrics: metrics.test_loss)
    if checkpoint.history[-1].train_loss >= best.train_loss:
        return text
    flip = "" if settings.augment == "flip" else ", or --augment flip where mirror images look right"
    return f"{text};\n" + wrapped(f"        the train loss still fell. More images would help{flip}")


def _load_last(run: Run) -> Checkpoint:
    """The newest checkpoint. Raises CheckpointError, offering the best one where only that can be read."""
    try:
        return load_checkpoint(run.last)
    except CheckpointError as error:
        try:
            best = load_checkpoint(run.best)
        except CheckpointError:
            raise error from None
        raise CheckpointError(
            f"{error}; {run.best.name} is whole: to continue after its epoch {best.epoch}, "
            f"copy it over {run.last.name} and resume again"
        ) from error


def _settings_of_run(run: Run, changes: dict[str, Any]) -> Settings:
    if not run.last.is_file():
        raise SettingsError(f"{run.folder}: no epoch was finished, so there is nothing to resume; train it anew")
    _check_names(changes)
    return replace(load_checkpoint(run.last).settings, **changes)


def _check_names(changes: dict[str, Any]) -> None:
    known = [field.name for field in fields(Settings)]
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise SettingsError(f"there is no setting {unknown[0]!r}; the settings are {', '.join(known)}")
