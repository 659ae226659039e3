"""`vae-export`: parses the options, opens the checkpoint and calls `export_bundle`."""

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
    help="Checkpoint of vae-train, or a state dict (.pt, .pth, .safetensors) of a common fully connected VAE.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["onnx", "torchscript", "pt2", "c", "all"]),
    multiple=True,
    default=["all"],
    help="File format of the graphs; repeat it for several. c is generator.c for any C99 compiler; all is the other "
    "three.  [default: all]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Bundle folder; an existing bundle is replaced.  [default: bundle, beside the checkpoint]",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="VAE_DATA",
    show_envvar=True,
    default=Path("data"),
    show_default=True,
    help="Folder with MNIST, if there is one: a state dict is checked on its test images.",
)
@click.option(
    "--opset",
    type=click.IntRange(min=18),
    default=18,
    show_default=True,
    help="ONNX opset; 18 loads in onnxruntime 1.18 and newer.",
)
@click.option(
    "--force", is_flag=True, help="Write into a folder that holds other files, and accept variants of low quality."
)
@click.option("--int8", is_flag=True, help="Add *.int8.onnx, static 8-bit files, and print their quality and speed.")
@click.option("--fp16-weights", is_flag=True, help="Add *.fp16.onnx, with 16-bit weights and float32 arithmetic.")
@click.option("--prune-latents", is_flag=True, help="Remove inactive latents, and print the change in NLL.")
@click.option("--strict-engines", is_flag=True, help="Also check OpenVINO and OpenCV, where they are installed.")
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
    """Export a checkpoint to a bundle, which is published only if every engine matches the model."""
    from export.bundle.build import export_bundle
    from export.bundle.certificate import as_text, table
    from export.formats.to_onnx import NEWEST_OPSET
    from export.source.load import load_source
    from runtime.manifest import FORMATS, ONNX_FP16, ONNX_INT8

    if opset > NEWEST_OPSET:
        raise click.BadParameter(f"{opset} is not in the range 18<=x<={NEWEST_OPSET}.", param_hint="--opset")
    started = time.monotonic()
    chosen = tuple(dict.fromkeys(name for given in formats for name in (FORMATS if given == "all" else (given,))))
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
        variants=[name for name, wanted in ((ONNX_INT8, int8), (ONNX_FP16, fp16_weights)) if wanted],
        report=lambda step: click.echo(f"{time.monotonic() - started:5.1f} s {step}", err=True),
    )
    click.echo("parity  largest error w.r.t. the model in float64")
    for line in as_text(table(measurements)):
        click.echo(line)
    click.echo(f"wrote   {output}/ in {time.monotonic() - started:.1f} s")
    for path in sorted(output.iterdir()):
        click.echo(f"        {path.name:23} {path.stat().st_size:11,} bytes")
