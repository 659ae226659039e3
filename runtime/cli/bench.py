"""`vae-bench`: cold start, latency, throughput and memory of a bundle, compared with what this machine can do."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.command import (
    Command,
    NumberRange,
    bundle_argument,
    json_option,
    precision_option,
    provider_option,
    threads_option,
)

if TYPE_CHECKING:
    from runtime.bench import Bench


@click.command(cls=Command)
@bundle_argument
@precision_option
@threads_option
@provider_option
@click.option(
    "--seconds",
    type=NumberRange(0.01, 60),
    default=0.5,
    show_default=True,
    help="Seconds spent on each measurement.",
)
@json_option
def bench(
    bundle: Path, precision: str, threads: int | None, providers: tuple[str, ...], seconds: float, as_json: bool
) -> None:
    """Measure BUNDLE on this machine  [default: runs/latest/bundle]. Takes about ten seconds.

    --provider measures the throughput of another engine beside the CPU's.
    """
    from runtime.bench import run_bench
    from runtime.machine.description import cpu, versions

    measured = run_bench(bundle, precision=precision, threads=threads, seconds=seconds, providers=providers or None)
    if as_json:
        click.echo(json.dumps({**asdict(measured), "cpu": cpu(), "versions": versions()}, indent=2))
        return
    processor = cpu()
    click.echo(f"{processor['architecture']}, {processor['model']}, {measured.threads} threads, {precision}\n")
    _print_table(measured)


def _print_table(measured: Bench) -> None:
    peak = "" if measured.cold_peak_mb is None else f", {measured.cold_peak_mb:.0f} MB at most"
    latency = ", ".join(f"{name} {value:,.0f}" for name, value in measured.latency_us.items())
    click.echo(f"cold start, one image on disk   {measured.cold_start_s:.2f} s{peak}")
    click.echo(f"one image, warm                 µs: {latency}\n")
    columns = sorted({(rate.provider != "cpu", rate.provider, rate.threads) for rate in measured.rates})
    head = "".join(
        f"{provider if other else f'{count} thread' + 's' * (count > 1):>14}" for other, provider, count in columns
    )
    click.echo(f"seeds to uint8 images, images/s by batch\n{'batch':>8}{head}")
    rates = {(rate.batch, rate.provider, rate.threads): rate.images_per_s for rate in measured.rates}
    for batch in sorted({rate.batch for rate in measured.rates}):
        line = "".join(f"{rates[batch, provider, count]:14,.0f}" for _, provider, count in columns)
        click.echo(f"{batch:8,}{line}")
    best = max(rate.images_per_s for rate in measured.rates if rate.provider == "cpu")
    limit = measured.decoder_images_per_s
    click.echo(f"\nthe decoder alone in onnxruntime   {limit:10,.0f} images/s: {best / limit:.0%} of it reached")
    gemm = f"float32 matrix product in NumPy    {measured.gemm_gflops:10,.0f} GFLOP/s"
    if measured.gemm_images_per_s is not None:
        share = best / measured.gemm_images_per_s
        gemm += f", {measured.gemm_images_per_s:,.0f} images/s: {share:.0%} reached"
    click.echo(gemm)
