"""`vae-export`: a thin door to `export.bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from export.errors import ExportError
from runtime.errors import VaeRuntimeError
from trainer.errors import TrainerError

_DEFAULT_CHECKPOINT = Path("runs/latest/best.pt")


class ExportCommand(click.Command):
    """A command that ends a user's mistake in one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ExportError, TrainerError, VaeRuntimeError) as error:
            raise click.ClickException(str(error)) from error


@click.command(cls=ExportCommand)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    default=_DEFAULT_CHECKPOINT,
    show_default=True,
    help="A checkpoint of vae-train.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["onnx", "torchscript", "all"]),
    multiple=True,
    default=["all"],
    help="May be given several times.  [default: all]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the bundle; a bundle there is replaced.  [default: bundle, beside the checkpoint]",
)
def export(checkpoint: Path, formats: tuple[str, ...], output: Path | None) -> None:
    """Export a checkpoint to a bundle: decoder and encoder, checked against PyTorch before they are published."""
    from export.bundle import FORMATS, export_bundle
    from export.parity import summarise
    from trainer.checkpoint import load_checkpoint

    chosen = FORMATS if "all" in formats else tuple(dict.fromkeys(formats))
    loaded = load_checkpoint(checkpoint)
    output = output or checkpoint.parent / "bundle"
    click.echo(f"from    {checkpoint}: {loaded.build_model().architecture}, epoch {loaded.epoch}")
    measurements = export_bundle(
        loaded, output, formats=chosen, report=lambda step: click.echo(f"        {step}", err=True)
    )
    click.echo("parity  graph          engine                     largest error   of its limit")
    for graph, engine, error, share in summarise(measurements):
        click.echo(f"        {graph:13}  {engine:26} {error:13.2e}   {share:11.0%}")
    click.echo(f"wrote   {output}/")
    for path in sorted(output.iterdir()):
        click.echo(f"        {path.name:16} {path.stat().st_size:11,} bytes")
