"""`vae-train`: parses and checks options, calls `fit`, and prints what was decided and written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.files import write_atomically
from trainer.cli.command import TrainerCommand
from trainer.cli.config_file import config_callback, config_of, resume_callback
from trainer.cli.data_options import DEFAULT_WORDS, data_options, load_data, shape_options
from trainer.cli.settings_options import settings_of, settings_options
from trainer.settings import PRESETS, PRIORS, Settings

if TYPE_CHECKING:
    from trainer.checkpoint import Checkpoint
    from trainer.data.dataset import ImageData
    from trainer.model.vae import VAE
    from trainer.training.execution import Execution
    from trainer.training.run_folder import Run


@click.command(cls=TrainerCommand)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="tutorial",
    show_default=True,
    help="kingma: 784-400-20, batch 32, 10 epochs. tutorial: 784-256-256-32, batch 128, 20 epochs, clipped gradients. "
    "conv: residual convolutions, a million parameters, 20 epochs.",
)
@data_options(DEFAULT_WORDS)
@shape_options
@settings_options
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device to train on; auto takes a GPU if there is one.",
)
@click.option(
    "--graph/--no-graph", default=True, show_default=True, help="Run the training step as a CUDA graph, on a GPU."
)
@click.option(
    "--prior",
    type=click.Choice(PRIORS),
    default=PRIORS[0],
    show_default=True,
    help="Distribution of samples: a mixture of Gaussians, fitted when training ends, or N(0, I).",
)
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads.  [default: torch's choice]")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Parent folder of all runs.",
)
@click.option("--name", help="Folder name of this run.  [default: data set and preset, numbered]")
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard events into the run; needs tensorboard.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    callback=config_callback,
    help="Read options from a TOML file, such as the config.toml of a run; the command line takes precedence.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    is_eager=True,
    callback=resume_callback,
    metavar="RUN",
    help="Resume the run in this folder, such as runs/latest, after its last finished epoch.",
)
@click.pass_context
def train(
    ctx: click.Context,
    /,
    preset: str,
    dataset: str | None,
    data_dir: Path | None,
    image_size: int | None,
    channels: int | None,
    device: str,
    graph: bool,
    prior: str,
    threads: int | None,
    runs: Path,
    name: str | None,
    tensorboard: bool,
    config: Path | None,
    resume: Path | None,
    **options: Any,
) -> None:
    """Train a variational autoencoder and save checkpoints, history and pictures."""
    import torch

    from trainer.pictures import draw_run, write_test_images
    from trainer.prior import check_mixture
    from trainer.training.console import anatomy, introduction
    from trainer.training.execution import Execution
    from trainer.training.resume import check_resumable
    from trainer.training.run_folder import Run
    from trainer.training.settle_prior import settle_prior
    from trainer.training.state import fresh_model
    from trainer.training.tensorboard import check_tensorboard

    # ---- decide and check, before anything is written ----
    settings = settings_of(preset, options)
    if tensorboard:
        check_tensorboard()
    if prior == "mixture":
        check_mixture()
    execution = Execution.choose(settings, device=device, graph=graph, threads=threads)
    team = execution.team
    data = team.in_turn(lambda: load_data(dataset, data_dir, image_size, channels))
    team.check_agreement(settings, data.sha256)
    model = fresh_model(settings, data)

    def open_run() -> tuple[Run, Checkpoint | None]:
        """A new run folder, or the one to resume with its newest checkpoint."""
        if resume is None:
            run = Run.create(runs, name, f"{Path(data.name).stem}-{preset}")
            on_cpu = execution.device.type == "cpu"
            text = config_of(
                ctx.command,
                settings,
                {
                    "dataset": dataset or data.name,
                    "data_dir": None if data_dir is None else str(data_dir),
                    "image_size": image_size,
                    "channels": None if channels is None else str(channels),
                    "device": execution.device.type,
                    "threads": torch.get_num_threads() if on_cpu else None,
                    "graph": graph,
                    "prior": prior,
                },
                team.world_size,
            )
            ctx.with_resource(run.owned())
            write_atomically(run.config, text.encode())
            return run, None
        run = Run.open(resume)
        ctx.with_resource(run.owned())  # before the newest checkpoint is read, and until the pictures are drawn
        if not run.last.is_file():
            return run, None
        checkpoint = _load_last(run)
        check_resumable(settings, data.sha256, checkpoint)
        return run, checkpoint

    run, checkpoint = team.from_first(open_run)
    click.echo(introduction(settings, data, model, execution, checkpoint, run.folder))

    # ---- train ----
    try:
        checkpoint = _fit_with_progress(settings, data, run, execution, model, checkpoint, tensorboard)
    except KeyboardInterrupt:
        saved = "the finished epochs are saved" if run.last.is_file() else "no epoch was finished"
        raise click.ClickException(f"interrupted; {saved}; resume with: vae-train --resume {run.folder}") from None

    team.leave()
    if not team.leads:
        return

    # ---- fit the prior ----
    click.echo(f"\n{anatomy(checkpoint)}")
    try:
        best, fitted = settle_prior(run, data, prior, execution.device)
    except KeyboardInterrupt:
        raise click.ClickException(
            f"interrupted; trained, but the prior is not fitted; resume with: vae-train --resume {run.folder}"
        ) from None
    if fitted is not None:
        click.echo(f"prior   {fitted.summary()}")

    # ---- show the result ----
    pictures = draw_run(checkpoint, best, data, run.pictures)
    images = write_test_images(data, run.folder / "test_images")
    click.echo(f"wrote   {run.best}, {run.last.name}, history.csv, history.jsonl, config.toml")
    click.echo(f"        {run.pictures}/ {', '.join(path.stem for path in pictures)}")
    click.echo(f"        {images}/ a few test images, to try vae-reconstruct on")


def _load_last(run: Run) -> Checkpoint:
    """The newest checkpoint. Raises CheckpointError, offering the best one where only that can be read."""
    from trainer.checkpoint import load_checkpoint
    from trainer.errors import CheckpointError

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


def _fit_with_progress(
    settings: Settings,
    data: ImageData,
    run: Run,
    execution: Execution,
    model: VAE,
    checkpoint: Checkpoint | None,
    tensorboard: bool,
) -> Checkpoint:
    """Run all epochs with one progress bar (on a terminal) and one line per epoch. Returns the last checkpoint."""
    from tqdm import tqdm

    from trainer.training.collapse import collapse_warning
    from trainer.training.console import EPOCH_HEAD, epoch_line
    from trainer.training.loop import fit
    from trainer.training.tensorboard import Events

    writes_events = tensorboard and execution.team.leads
    events = Events(run.folder, checkpoint.history if checkpoint else ()) if writes_events else None
    click.echo(EPOCH_HEAD)
    images, start = len(data.train_images), checkpoint.epoch if checkpoint else 0
    with tqdm(
        total=settings.epochs * images, initial=start * images, unit=" images", unit_scale=True, disable=None,
        leave=False, mininterval=0.2,
    ) as bar:  # fmt: skip
        for state in fit(
            settings, data, run, execution=execution, model=model, checkpoint=checkpoint, advance=bar.update
        ):
            checkpoint, metrics = state, state.history[-1]
            bar.write(epoch_line(metrics))
            if warning := collapse_warning(state.history, settings):
                bar.write(f"        {warning}")
            if events is not None:
                events.add(metrics)
    assert checkpoint is not None  # a new run has at least one epoch
    return checkpoint
