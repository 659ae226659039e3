"""`vae-train`: parses and checks options, and calls `train_run`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainer.cli.command import TrainerCommand, device_option, threads_option
from trainer.cli.config_file import config_callback, resume_callback
from trainer.cli.data_options import DEFAULT_WORDS, data_options, load_data, shape_options
from trainer.cli.settings_options import given, settings_of, settings_options
from trainer.settings import PRESETS, PRIORS

if TYPE_CHECKING:
    from trainer.checkpoint import Checkpoint
    from trainer.training.run_folder import Run


@click.command(cls=TrainerCommand)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help="kingma: 784-400-20, batch 32, 10 epochs. tutorial: 784-256-256-32, batch 128, 20 epochs, clipped gradients. "
    "conv: residual convolutions, a million parameters, 20 epochs. photo: for colour images and photos.  "
    "[default: photo for colour images and sides over 32, otherwise tutorial]",
)
@data_options(DEFAULT_WORDS)
@shape_options
@settings_options
@device_option("train")
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
@threads_option
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Parent folder of all runs.",
)
@click.option("--name", help="Folder name of this run.  [default: data set and preset, numbered]")
@click.option("--clear-cache", is_flag=True, help="Only remove what is in the cache of decoded images.")
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
def train(
    preset: str | None,
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
    clear_cache: bool,
    tensorboard: bool,
    config: Path | None,
    resume: Path | None,
    **options: Any,
) -> None:
    """Train a variational autoencoder and save checkpoints, history and pictures."""
    if clear_cache:
        _clear_cache()
        return

    from trainer.compiler import leave_out_compiler
    from trainer.training.api import choose_settings, create_run, reopen_run, train_run
    from trainer.training.execution import Execution
    from trainer.training.tensorboard import check_tensorboard

    leave_out_compiler()

    # ---- decide and check, before anything is written ----
    if tensorboard:
        check_tensorboard()
    # Which preset suits is known once the data are; until then the one with the smallest batches, for `Team.join`.
    provisional = settings_of(preset or "photo", options)
    execution = Execution.choose(provisional, device=device, graph=graph, threads=threads)
    team = execution.team
    data = team.in_turn(lambda: load_data(dataset, data_dir, image_size, channels))
    settings = choose_settings(preset, given(options), data)
    team.check_agreement(settings, data.sha256)

    def open_run(held: ExitStack) -> tuple[Run, Checkpoint | None]:
        """A new run folder, or the one to resume with its newest checkpoint."""
        if resume is not None:
            return reopen_run(resume, settings, data, held)
        return create_run(runs, name, settings, data, execution, prior, held), None

    # ---- train, and show the result ----
    train_run(settings, data, execution, open_run, prior=prior, tensorboard=tensorboard, say=click.echo)


def _clear_cache() -> None:
    from trainer.data.cache import cache_folder, clear_cache

    files, size = clear_cache(cache_folder())
    count = "1 file" if files == 1 else f"{files} files"
    click.echo(f"removed {count}, {size / 1e6:,.1f} MB, from {cache_folder()}")
