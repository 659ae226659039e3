"""Output of raw uint8 pixels to an open stream, for another program to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from runtime.errors import OutputError
from runtime.job import SampleJob
from runtime.sampler import Sampler


def write_raw(
    sampler: Sampler,
    job: SampleJob,
    stream: BinaryIO,
    *,
    batch_size: int | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> int:
    """Write the images of `job` to `stream` as (H, W, C) bytes, one after the other, without headers. Returns num.

    Raises BrokenPipeError if the reader closes the stream, and OutputError if writing fails for another reason.
    """
    try:
        for pixels in sampler.stream(
            job.num, seed=job.seed, first=job.first, temperature=job.temperature, label=job.label, batch_size=batch_size
        ):
            stream.write(pixels.data)
            advance(len(pixels))
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to stdout: {error.strerror or error}") from error
    return job.num
