"""`vae-train`: a thin door. It checks everything before the slow part and says what it decided and what it wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.files import write_atomically
from trainer.cli.command import TrainerCommand
from trainer.cli.config_file import config_callback, config_of, resume_callback
from trainer.cli.data_options import DEFAULT_WORDS, data_options, load_data, shape_options
from trainer.settings import CHOICES, PRESETS, PRIORS, Settings

if TYPE_CHECKING:
    import torch

    from trainer.checkpoint import Checkpoint
    from trainer.data.dataset import ImageData
    from trainer.training.run_folder import Run
    from trainer.training.team import Team


def _parse_sizes(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Layer sizes as in 512,512."""
    if value is None:
        return None
    try:
        sizes = tuple(int(size) for size in value.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise click.BadParameter(f"{value!r} should be one or more sizes of at least 1, as in 512,512")
    return sizes


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
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training images.  [default: the preset's]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images a step.  [default: the preset's]")
@click.option("--latent-dim", type=click.IntRange(min=1), help="Size of the latent vector.  [default: the preset's]")
@click.option(
    "--hidden",
    callback=_parse_sizes,
    metavar="SIZES",
    help="Hidden layers of the encoder, or channels of its stages, as in 512,512.  [default: the preset's]",
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="Of Adam.  [default: 0.001]")
@click.option(
    "--network",
    type=click.Choice(CHOICES["network"]),
    help="Fully connected, or residual convolutions.  [default: the preset's]",
)
@click.option(
    "--batch-norm/--no-batch-norm",
    default=None,
    help="Batch normalisation before each activation.  [default: the preset's]",
)
@click.option("--activation", type=click.Choice(CHOICES["activation"]), help="Between layers.  [default: relu]")
@click.option("--likelihood", type=click.Choice(CHOICES["likelihood"]), help="Of a pixel.  [default: bernoulli]")
@click.option(
    "--bound",
    type=click.Choice(CHOICES["bound"]),
    help="What to train on: ELBO, IWAE, or IWAE with its doubly-reparameterised gradient.  [default: elbo]",
)
@click.option("--draws", type=click.IntRange(min=1), help="Draws of z for each image in a step.  [default: 1]")
@click.option(
    "--binarize",
    type=click.Choice(CHOICES["binarize"]),
    help="Black-and-white images: drawn anew each epoch, or split at half.  [default: none]",
)
@click.option(
    "--kl-warmup",
    type=click.FloatRange(min=0),
    metavar="EPOCHS",
    help="Epochs over which the KL weight rises from 0 to beta.  [default: 0]",
)
@click.option(
    "--free-bits",
    type=click.FloatRange(min=0),
    metavar="NATS",
    help="KL that each latent dimension may use without charge.  [default: 0]",
)
@click.option("--adam-epsilon", type=click.FloatRange(min=0, min_open=True), help="Of Adam.  [default: 1e-8]")
@click.option(
    "--schedule", type=click.Choice(CHOICES["schedule"]), help="Of the learning rate.  [default: the preset's]"
)
@click.option(
    "--precision", type=click.Choice(CHOICES["precision"]), help="Of the matrix products.  [default: float32]"
)
@click.option("--beta", type=click.FloatRange(min=0), help="Weight of the KL term.  [default: 1]")
@click.option(
    "--clip-norm",
    type=click.FloatRange(min=0),
    help="Largest norm of the gradient of a batch's summed loss; 0 for no clipping.  [default: the preset's]",
)
@click.option(
    "--prior",
    type=click.Choice(PRIORS),
    default=PRIORS[0],
    show_default=True,
    help="What samples are drawn from: a mixture of Gaussians, fitted when training ends, or N(0, I).",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of weights, order and noise.  [default: 0]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--graph/--no-graph", default=True, show_default=True, help="On a GPU, run the training step as a CUDA graph."
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Processors used on the CPU.  [default: torch's choice]")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder that holds all runs.",
)
@click.option("--name", help="Name of this run's folder.  [default: data set and preset, numbered]")
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard events into the run; needs tensorboard.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    callback=config_callback,
    help="Options from a TOML file, such as the config.toml of a run; the command line goes before it.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    is_eager=True,
    callback=resume_callback,
    metavar="RUN",
    help="Go on with the run in this folder, such as runs/latest, after its last finished epoch.",
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
    **overrides: Any,
) -> None:
    """Train a variational autoencoder and save checkpoints, history and pictures."""
    import torch

    from trainer.checkpoint import load_checkpoint
    from trainer.device import choose_device
    from trainer.model.vae import VAE, ModelConfig
    from trainer.pictures import draw_run, write_test_images
    from trainer.prior import check_mixture
    from trainer.training.console import anatomy, introduction
    from trainer.training.resume import check_resumable
    from trainer.training.run_folder import Run
    from trainer.training.settle_prior import settle_prior
    from trainer.training.team import Team
    from trainer.training.tensorboard import check_tensorboard

    # ---- what to do, checked before anything is written ----
    settings = _resolve(preset, overrides)
    torch_device = choose_device(device)
    if tensorboard:
        check_tensorboard()
    if prior == "mixture":
        check_mixture()
    if threads is not None:
        torch.set_num_threads(threads)
    team = Team.join(settings, torch_device)  # alone, unless torchrun has started this process
    data = team.in_turn(lambda: load_data(dataset, data_dir, image_size, channels))
    team.check_agreement(settings, data.sha256)
    model = VAE(ModelConfig.of(settings, data.image_shape))  # where there can be none, there will be no run either

    def start() -> tuple[Run, Checkpoint | None]:
        """A new run, or the one to go on with and its newest checkpoint."""
        if resume is None:
            run = Run.create(runs, name, f"{Path(data.name).stem}-{preset}")
            text = config_of(
                ctx.command,
                settings,
                {
                    "dataset": dataset or data.name,
                    "data_dir": None if data_dir is None else str(data_dir),
                    "image_size": image_size,
                    "channels": None if channels is None else str(channels),
                    "device": torch_device.type,
                    "threads": torch.get_num_threads() if torch_device.type == "cpu" else None,
                    "graph": graph,
                    "prior": prior,
                },
                team.size,
            )
            write_atomically(run.config, text.encode())
            return run, None
        run = Run.open(resume)
        if not run.last.is_file():
            return run, None
        checkpoint = load_checkpoint(run.last)
        check_resumable(settings, data.sha256, checkpoint)
        return run, checkpoint

    run, checkpoint = team.from_first(start)

    click.echo(introduction(settings, data, model, torch_device, team, checkpoint, run.folder))

    # ---- train ----
    try:
        checkpoint = _fit_with_progress(settings, data, run, torch_device, checkpoint, graph, team, tensorboard)
    except KeyboardInterrupt:
        saved = "the finished epochs are saved" if run.last.is_file() else "no epoch was finished"
        raise click.ClickException(f"interrupted; {saved}; go on with: vae-train --resume {run.folder}") from None

    team.leave()
    if not team.leads:
        return

    # ---- the prior of the deployed weights ----
    click.echo(f"\n{anatomy(checkpoint)}")
    try:
        best, fitted = settle_prior(run, data, prior, torch_device)
    except KeyboardInterrupt:
        raise click.ClickException(
            f"interrupted; trained, but the prior is not fitted; go on with: vae-train --resume {run.folder}"
        ) from None
    if fitted is not None:
        click.echo(f"prior   {fitted.summary()}")

    # ---- show ----
    pictures = draw_run(checkpoint, best, data, run.pictures)
    images = write_test_images(data, run.folder / "test_images")
    click.echo(f"wrote   {run.best}, {run.last.name}, history.csv, history.jsonl, config.toml")
    click.echo(f"        {run.pictures}/ {', '.join(path.stem for path in pictures)}")
    click.echo(f"        {images}/ a few test images, to try vae-reconstruct on")


def _resolve(preset: str, overrides: dict[str, Any]) -> Settings:
    """The preset with the options that were given."""
    given = {key: value for key, value in overrides.items() if value is not None}
    if given.get("clip_norm") == 0:
        given["clip_norm"] = None
    return replace(PRESETS[preset], **given)


def _fit_with_progress(
    settings: Settings,
    data: ImageData,
    run: Run,
    device: torch.device,
    checkpoint: Checkpoint | None,
    graph: bool,
    team: Team,
    tensorboard: bool,
) -> Checkpoint:
    """Run all epochs under one progress bar (on a terminal), with a line for each. Returns the last state."""
    from tqdm import tqdm

    from trainer.training.collapse import collapse_warning
    from trainer.training.console import EPOCH_HEAD, epoch_line
    from trainer.training.loop import fit
    from trainer.training.tensorboard import Events

    writes_events = tensorboard and team.leads
    events = Events(run.folder, checkpoint.history if checkpoint else ()) if writes_events else None
    click.echo(EPOCH_HEAD)
    images, start = len(data.train_images), checkpoint.epoch if checkpoint else 0
    with tqdm(
        total=settings.epochs * images, initial=start * images, unit=" images", unit_scale=True, disable=None,
        leave=False, mininterval=0.2,
    ) as bar:  # fmt: skip
        for state in fit(
            settings, data, run, device=device, checkpoint=checkpoint, graph=graph, team=team, advance=bar.update
        ):
            checkpoint, metrics = state, state.history[-1]
            bar.write(epoch_line(metrics))
            if warning := collapse_warning(state.history, settings):
                bar.write(f"        {warning}")
            if events is not None:
                events.add(metrics)
    assert checkpoint is not None  # a new run has at least one epoch
    return checkpoint
