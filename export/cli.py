"""`vae-export`: parses the options, opens the checkpoint and calls `export_bundle`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from export.errors import ExportError
from runtime.cli.command import Command
from runtime.errors import VaeRuntimeError
from trainer.errors import TrainerError
from trainer.spinning import limit_spinning

if TYPE_CHECKING:
    import numpy.typing as npt

    from export.source.source import Source

_Number = TypeVar("_Number", int, float)
_DEFAULT_CHECKPOINT = Path("runs/latest/best.pt")


class ExportCommand(Command):
    """The command of the exporter."""

    expected = (ExportError, TrainerError, VaeRuntimeError)
    interrupted = "stopped; nothing was published, and the output is as it was"
    out_of_memory = "not enough memory to export and check this model here"

    def invoke(self, ctx: click.Context) -> Any:
        limit_spinning()
        return super().invoke(ctx)


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
    type=click.Choice(["onnx", "torchscript", "pt2", "c", "pte", "all"]),
    multiple=True,
    default=["all"],
    help="File format of the graphs; repeat it for several. all is onnx, torchscript and pt2; c is generator.c for any "
    "C99 compiler; pte is for ExecuTorch, and needs the extra `executorch`.  [default: all]",
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
@click.option(
    "--module",
    metavar="FILE.py:FUNCTION",
    help="Export somebody else's model: import this file, which runs its code, and call the function that builds it.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="State dict of --module, read without running code.")
@click.option("--latent-shape", metavar="SIZES", help="Shape of one latent of --module, such as 4,8,8.")
@click.option("--image-shape", metavar="C,H,W", help="Shape of one image of --module, such as 3,64,64.")
@click.option(
    "--value-range",
    metavar="LOW,HIGH",
    default="0,1",
    show_default=True,
    help="Values that --module takes for black and for white, such as -1,1.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Real images for --module: a folder, a file or an .npy array; can be repeated.",
)
@click.option(
    "--prior",
    type=click.Choice(["normal", "mixture"]),
    help="Distribution of samples of --module: N(0, I), or a mixture of Gaussians fitted to --images.  "
    "[default: normal]",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Class of each image for --prior mixture: an .npy array of integers (N,).",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Add *.int8.onnx, static 8-bit files, and with the format c generator.int8.c, with 8-bit weights; print their "
    "quality and speed.",
)
@click.option(
    "--fp16-weights",
    is_flag=True,
    help="Add *.fp16.onnx, and with the format c generator.fp16.c: 16-bit weights and float32 arithmetic.",
)
@click.option("--prune-latents", is_flag=True, help="Remove inactive latents, and print the change in NLL.")
@click.option(
    "--sign",
    "private_key",
    type=click.Path(path_type=Path),
    metavar="KEY.pem",
    help="Sign the bundle with this private key (P-256, P-384 or P-521); needs the extra `sign`.",
)
@click.option(
    "--site",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write the latent explorer with this bundle as a static folder, which any web host can serve.",
)
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
    private_key: Path | None,
    site: Path | None,
    strict_engines: bool,
    module: str | None,
    weights: Path | None,
    latent_shape: str | None,
    image_shape: str | None,
    value_range: str,
    images: tuple[Path, ...],
    prior: str | None,
    labels: Path | None,
) -> None:
    """Export a checkpoint to a bundle, which is published only if every engine matches the model."""
    from export.bundle.build import export_bundle
    from export.bundle.certificate import as_text, table
    from export.bundle.site import write_site
    from export.formats.to_onnx import NEWEST_OPSET
    from export.source.load import load_source
    from runtime.manifest import FORMATS

    if opset > NEWEST_OPSET:
        raise click.BadParameter(f"{opset} is not in the range 18<=x<={NEWEST_OPSET}.", param_hint="--opset")
    started = time.monotonic()
    chosen = tuple(dict.fromkeys(name for given in formats for name in (FORMATS if given == "all" else (given,))))
    output = output or (Path("bundle") if module else checkpoint.parent / "bundle")
    if site is not None:
        _check_site(site, output, chosen)
    if module is not None:
        source = _foreign(module, weights, latent_shape, image_shape, value_range, images, prior or "normal", labels)
    else:
        given = {
            "--weights": weights,
            "--latent-shape": latent_shape,
            "--image-shape": image_shape,
            "--images": images,
            "--prior": prior,
            "--labels": labels,
        }
        for name, value in given.items():
            if value:
                raise click.UsageError(f"{name} goes with --module.")
        source = load_source(checkpoint, data_dir)
    click.echo(f"from    {module or checkpoint}: {source.provenance['architecture']}")
    if prune_latents:
        from export.source.prune import prune_latents as prune

        pruned = prune(source)
        source = pruned.source
        click.echo(f"pruned  {pruned.summary()}")
    with _telling_what_was_published(output, *([] if site is None else [site])):
        measurements = export_bundle(
            source,
            output,
            formats=chosen,
            opset=opset,
            force=force,
            strict_engines=strict_engines,
            variants=_variants(chosen, int8, fp16_weights),
            private_key=private_key,
            report=lambda step: click.echo(f"{time.monotonic() - started:5.1f} s {step}", err=True),
        )
        click.echo("parity  largest error w.r.t. the model in float64")
        for line in as_text(table(measurements)):
            click.echo(line)
        click.echo(f"wrote   {output}/ in {time.monotonic() - started:.1f} s")
        for path in sorted(output.iterdir()):
            click.echo(f"        {path.name:23} {path.stat().st_size:11,} bytes")
        if site is not None:
            write_site(output, site)
            size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
            click.echo(f"site    {site}/ {size:11,} bytes; serve it with any web host, at any path")


@contextmanager
def _telling_what_was_published(*folders: Path) -> Iterator[None]:
    """Where the command is stopped after one of `folders` was replaced, say which: the others are as they were."""
    before = [_identity(folder) for folder in folders]
    try:
        yield
    except KeyboardInterrupt as error:
        changed = {folder: _identity(folder) != old for folder, old in zip(folders, before, strict=True)}
        if not any(changed.values()):
            raise
        said = [f"{folder}/ {'is published' if new else 'is as it was'}" for folder, new in changed.items()]
        raise click.ClickException(f"stopped; {', '.join(said)}") from error


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells this folder from another that takes its place."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _check_site(site: Path, output: Path, formats: tuple[str, ...]) -> None:
    """Refuse a --site that cannot be written, before the export."""
    from export.bundle.site import check_site
    from runtime.files.regular import follow

    one, other = follow(site), follow(output)
    if one == other or one in other.parents or other in one.parents:
        raise click.UsageError("--site and --output should be two folders, neither inside the other.")
    check_site(site)
    if "onnx" not in formats:
        raise click.UsageError("--site needs the format onnx, which browsers run.")


def _variants(formats: tuple[str, ...], int8: bool, fp16_weights: bool) -> list[str]:
    """Those of every chosen format that has any; of ONNX where none has, which `export_bundle` refuses."""
    from runtime.manifest import C_FP16, C_INT8, ONNX, ONNX_FP16, ONNX_INT8, C

    pairs = {ONNX: (ONNX_INT8, ONNX_FP16), C: (C_INT8, C_FP16)}
    bases = [name for name in pairs if name in formats] or [ONNX]
    return [name for base in bases for name, wanted in zip(pairs[base], (int8, fp16_weights), strict=True) if wanted]


def _foreign(
    module: str,
    weights: Path | None,
    latent_shape: str | None,
    image_shape: str | None,
    value_range: str,
    images: tuple[Path, ...],
    prior: str,
    labels: Path | None,
) -> Source:
    """The source that --module and the options beside it describe."""
    from export.source.file import source_of_file
    from runtime.images.image_inputs import load_images

    if latent_shape is None or image_shape is None:
        raise click.UsageError("--module needs --latent-shape and --image-shape.")
    sizes = _numbers(image_shape, "--image-shape", int)
    if len(sizes) != 3 or min(sizes) < 1:
        raise click.BadParameter(f"{image_shape} should be channels,height,width.", param_hint="--image-shape")
    bounds = _numbers(value_range, "--value-range", float)
    if len(bounds) != 2:
        raise click.BadParameter(f"{value_range} should be two numbers, such as -1,1.", param_hint="--value-range")
    shape = sizes[0], sizes[1], sizes[2]
    pixels = load_images(images, shape).pixels if images else None
    click.echo(f"import  {module.rpartition(':')[0]} and run it; weights are read without running code", err=True)
    return source_of_file(
        module,
        weights=weights,
        latent_shape=tuple(_numbers(latent_shape, "--latent-shape", int)),
        image_shape=shape,
        value_range=(bounds[0], bounds[1]),
        images=pixels,
        prior=prior,
        labels=None if labels is None else _load_labels(labels),
    )


def _load_labels(path: Path) -> npt.NDArray[Any]:
    from runtime.files.arrays import load_array

    try:
        return load_array(path)
    except Exception as error:  # NumPy raises whatever damaged bytes cause
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ExportError(f"{path}: cannot be read as an array of labels: {reason}") from error


def _numbers(text: str, option: str, kind: Callable[[str], _Number]) -> list[_Number]:
    """Numbers separated by commas. option: its name, for the message. kind: int or float."""
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} should be numbers separated by commas.", param_hint=option) from None
