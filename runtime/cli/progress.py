"""Progress of a long job: a bar with rate and ETA on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], object]]:
    """Yields a function that takes the number of images just finished. All output goes to stderr."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, unit=" images", unit_scale=True, leave=False, mininterval=0.2, delay=0.5) as bar:
            yield bar.update
        return
    started = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES and done < total:
            last = now
            rate = done / (now - started)
            click.echo(
                f"{done:,} of {total:,} images, {rate:,.0f} images/s, {(total - done) / rate:,.0f} s left", err=True
            )

    yield advance
