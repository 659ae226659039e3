"""`vae-verify`: checks that a bundle is complete and that this machine reproduces its golden values."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path

import click

from runtime.cli.command import Command, bundle_argument, json_option, provider_option
from runtime.text import wrapped


@click.command(cls=Command)
@bundle_argument
@click.option("-v", "--verbose", is_flag=True, help="Also print every check that passed.")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    help="PEM file of the key that must have signed the bundle; needs the extra `sign`.",
)
@click.option(
    "--compiler",
    metavar="COMMAND",
    help="C compiler, such as cc, to check the bundle's C source with. The compiled code is run, so use it only for "
    "bundles whose maker you trust.",
)
@provider_option
@json_option
def verify(
    bundle: Path,
    verbose: bool,
    public_key: Path | None,
    compiler: str | None,
    providers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check BUNDLE on this machine, without PyTorch  [default: runs/latest/bundle].

    Checks the size and sha256 of every file, that the graphs belong to one model, and the golden values of the export:
    latents bit for bit, pixels to one grey level, other outputs to the limits of parity.json. --provider holds another
    engine than the CPU to the same limits. Programs of ExecuTorch are checked where it is installed. Exit code 0 if
    every check passes, 1 otherwise.
    """
    from runtime.machine.description import cpu, versions
    from runtime.verify import verify_bundle

    command = None if compiler is None else _words(compiler)
    if command is not None and (not command or shutil.which(command[0]) is None):
        raise click.BadParameter(f"{compiler!r} is no program here.", param_hint="--compiler")
    report = verify_bundle(bundle, public_key=public_key, compiler=command, providers=providers or None)
    failed = [check for check in report.checks if not check.passed]
    if as_json:
        click.echo(json.dumps({**asdict(report), "passed": report.passed}, indent=2))
    else:
        summary = (
            f"{len(failed)} of {len(report.checks)} checks failed"
            if failed
            else f"all {len(report.checks)} checks passed"
        )
        click.echo(f"{bundle}: {summary}")
        processor = cpu()
        click.echo(f"machine  {processor['architecture']}, {processor['model']}")
        named = ", ".join(f"{name} {number}" for name, number in versions().items())
        click.echo(wrapped(f"         {named}", indent=9))
        for check in report.checks if verbose else failed:
            click.echo(f"{'ok' if check.passed else 'FAILED':7}  {check.name:32} {check.detail}")
    if failed:
        raise click.ClickException(f"{bundle}: {', '.join(check.name for check in failed)} failed")


def _words(command: str) -> list[str]:
    """Its words, as a shell divides them."""
    try:
        return shlex.split(command)
    except ValueError as error:  # a quotation without an end
        raise click.BadParameter(f"{command!r}: {error}.", param_hint="--compiler") from None
