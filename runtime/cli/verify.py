"""`vae-verify`: is this bundle whole, and does this machine compute what the exporting one computed?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from runtime.cli.command import RuntimeCommand, bundle_argument, json_option


@click.command(cls=RuntimeCommand)
@bundle_argument
@click.option("-v", "--verbose", is_flag=True, help="Also print every check that passed.")
@json_option
def verify(bundle: Path, verbose: bool, as_json: bool) -> None:
    """Check BUNDLE on this machine, without PyTorch  [default: runs/latest/bundle].

    Sizes and hashes of all files, that the graphs belong together, and the golden vectors that the export put in:
    latents to the bit, images to one grey level. Exit code 0 where everything holds, 1 where anything does not.
    """
    from runtime.machine import cpu, versions
    from runtime.verify import verify_bundle

    report = verify_bundle(bundle)
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
        click.echo(f"         {', '.join(f'{name} {number}' for name, number in versions().items())}")
        for check in report.checks if verbose else failed:
            click.echo(f"{'ok' if check.passed else 'FAILED':7}  {check.name:32} {check.detail}")
    if failed:
        raise click.ClickException(f"{bundle}: {', '.join(check.name for check in failed)} failed")
