"""`vae-export`: a thin door to `export.bundle.build`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from export.errors import ExportError
from runtime.cli.command import Command
from runtime.errors import VaeRuntimeError
from trainer.errors import TrainerError

_DEFAULT_CHECKPOINT = Path("runs/latest/best.pt")


class ExportCommand(Command):
    """The command of the exporter."""

    expected = (ExportError, TrainerError, VaeRuntimeError)


@click.command(cls=ExportCommand)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    default=_DEFAULT_CHECKPOINT,
    show_default=True,
    help="Of vae-train, or a state dict (.pt, .pth, .safetensors) of a fully connected VAE of the usual tutorials.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["onnx", "torchscript", "pt2", "all"]),
    multiple=True,
    default=["all"],
    help="May be given several times.  [default: all]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the bundle; a bundle there is replaced.  [default: bundle, beside the checkpoint]",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="VAE_DATA",
    show_envvar=True,
    default=Path("data"),
    show_default=True,
    help="Where MNIST may lie: a state dict brings no images to check it on.",
)
@click.option(
    "--opset",
    type=click.IntRange(min=18),
    default=18,
    show_default=True,
    help="Of the ONNX files: 18 loads in onnxruntime 1.18 and newer.",
)
@click.option(
    "--force", is_flag=True, help="Write also beside what is no part of a bundle, and variants that lose much."
)
@click.option("--int8", is_flag=True, help="Add *.int8.onnx, static 8-bit files, and say what they cost and gain.")
@click.option("--fp16-weights", is_flag=True, help="Add *.fp16.onnx: half the size, computed in float32.")
@click.option("--prune-latents", is_flag=True, help="Drop latents that say nothing, and print the change in NLL.")
@click.option("--strict-engines", is_flag=True, help="Check also in OpenVINO and OpenCV, where they are installed.")
def export(
    checkpoint: Path,
    formats: tuple[str, ...],
    output: Path | None,
    data_dir: Path,
    opset: int,
    force: bool,
    int8: bool,
    fp16_weights: bool,
    prune_latents: bool,
    strict_engines: bool,
) -> None:
    """Export a checkpoint to a bundle that is published only when every engine computes what the model computes."""
    from export.bundle.build import FORMATS, export_bundle
    from export.bundle.certificate import as_text, table
    from export.checks.variants import FP16, INT8
    from export.formats.to_onnx import NEWEST_OPSET
    from export.source.state_dicts import load_source

    if opset > NEWEST_OPSET:
        raise click.BadParameter(f"{opset} is not in the range 18<=x<={NEWEST_OPSET}.", param_hint="--opset")
    started = time.monotonic()
    chosen = FORMATS if "all" in formats else tuple(dict.fromkeys(formats))
    output = output or checkpoint.parent / "bundle"
    source = load_source(checkpoint, data_dir)
    click.echo(f"from    {checkpoint}: {source.provenance['architecture']}")
    if prune_latents:
        from export.source.prune import prune_latents as prune

        pruned = prune(source)
        source = pruned.source
        click.echo(f"pruned  {pruned.summary()}")
    measurements = export_bundle(
        source,
        output,
        formats=chosen,
        opset=opset,
        force=force,
        strict_engines=strict_engines,
        variants=[name for name, chosen in ((INT8, int8), (FP16, fp16_weights)) if chosen],
        report=lambda step: click.echo(f"{time.monotonic() - started:5.1f} s {step}", err=True),
    )
    click.echo("parity  largest error against the model in float64")
    for line in as_text(table(measurements)):
        click.echo(line)
    click.echo(f"wrote   {output}/ in {time.monotonic() - started:.1f} s")
    for path in sorted(output.iterdir()):
        click.echo(f"        {path.name:23} {path.stat().st_size:11,} bytes")
