"""The options of `vae-train` that make up `Settings`, and the settings that follow from a preset and these options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import click

from trainer.settings import CHOICES, PRESETS, Settings


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each field of `Settings`, for a click command; an option that is not given is None."""
    for option in reversed(_options()):
        command = option(command)
    return command


def settings_of(preset: str, options: Mapping[str, Any]) -> Settings:
    """The settings of `preset`, replaced by the `options` that are not None; a clip_norm of 0 means no clipping."""
    changes = given(options)
    if changes.get("clip_norm") == 0:
        changes["clip_norm"] = None
    return replace(PRESETS[preset], **changes)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The `options` that are not None."""
    return {key: value for key, value in options.items() if value is not None}


def _options() -> list[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """The options, in the order in which `--help` lists them."""
    size = click.IntRange(min=1)
    positive, not_negative = click.FloatRange(min=0, min_open=True), click.FloatRange(min=0)
    return [
        click.option("--epochs", type=size, help="Passes over the training images.  [default: the preset's]"),
        click.option("--batch-size", type=size, help="Images per training step.  [default: the preset's]"),
        click.option("--latent-dim", type=size, help="Number of latent dimensions.  [default: the preset's]"),
        click.option(
            "--hidden",
            callback=_parse_sizes,
            metavar="SIZES",
            help="Encoder layer sizes (mlp) or channels per stage (conv), as in 512,512; the decoder mirrors them.  "
            "[default: the preset's]",
        ),
        click.option("--learning-rate", type=positive, help="Adam learning rate.  [default: the preset's]"),
        click.option(
            "--network",
            type=click.Choice(CHOICES["network"]),
            help="Fully connected layers, or convolutions.  [default: the preset's]",
        ),
        click.option(
            "--batch-norm/--no-batch-norm",
            default=None,
            help="Batch normalisation before each activation.  [default: the preset's]",
        ),
        click.option(
            "--activation",
            type=click.Choice(CHOICES["activation"]),
            help="Activation function.  [default: the preset's]",
        ),
        click.option(
            "--likelihood", type=click.Choice(CHOICES["likelihood"]), help="Pixel likelihood.  [default: bernoulli]"
        ),
        click.option(
            "--bound",
            type=click.Choice(CHOICES["bound"]),
            help="Training objective: ELBO, IWAE, or IWAE with the doubly-reparameterised gradient.  [default: elbo]",
        ),
        click.option("--draws", type=size, help="Posterior samples per image in a training step.  [default: 1]"),
        click.option(
            "--binarize",
            type=click.Choice(CHOICES["binarize"]),
            help="Binarise the images: sampled anew each epoch, or thresholded at half.  [default: none]",
        ),
        click.option(
            "--kl-warmup",
            type=not_negative,
            metavar="EPOCHS",
            help="Epochs over which the KL weight rises linearly from 0 to beta.  [default: 0]",
        ),
        click.option(
            "--free-bits",
            type=not_negative,
            metavar="NATS",
            help="KL per latent dimension below which the loss does not decrease further.  [default: 0]",
        ),
        click.option("--adam-epsilon", type=positive, help="Adam epsilon.  [default: 1e-8]"),
        click.option(
            "--schedule",
            type=click.Choice(CHOICES["schedule"]),
            help="Learning-rate schedule.  [default: the preset's]",
        ),
        click.option(
            "--precision",
            type=click.Choice(CHOICES["precision"]),
            help="Precision of the matrix products; weights and sums stay float32.  [default: float32]",
        ),
        click.option(
            "--augment",
            type=click.Choice(CHOICES["augment"]),
            help="Mirror each training image left to right with probability ½, anew each epoch.  [default: none]",
        ),
        click.option(
            "--average",
            type=click.FloatRange(0, 1, max_open=True),
            metavar="DECAY",
            help="Test and save a moving average of the weights with this decay per step, such as 0.999.  "
            "[default: the preset's]",
        ),
        click.option(
            "--patience",
            type=click.IntRange(min=0),
            metavar="EPOCHS",
            help="Stop after so many epochs without a lower test loss; 0 never stops.  [default: the preset's]",
        ),
        click.option("--beta", type=not_negative, help="Weight of the KL term.  [default: 1]"),
        click.option(
            "--clip-norm",
            type=not_negative,
            help="Gradient norm limit for the loss summed over a batch; 0 turns clipping off.  [default: the preset's]",
        ),
        click.option(
            "--seed",
            type=click.IntRange(0, 2**63 - 1),
            help="Seed of weights, data order and noise.  [default: 0]",
        ),
    ]


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
