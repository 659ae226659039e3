"""Downloading a data set with torchvision, with short timeouts for machines without a network."""

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchvision import datasets

from trainer.errors import DownloadError

_ANSWER_WITHIN = 8.0  # seconds until the first response, name resolution included
_STALL_AFTER = 5.0  # seconds without a byte


def download(dataset: type[datasets.MNIST], root: Path) -> None:
    """Put the raw IDX files of `dataset` (MNIST or a class derived from it) under `root`.

    Raises DownloadError within 20 seconds if no mirror answers.
    """
    first_file = dataset.resources[0][0]
    if not _any_answers([f"{mirror}{first_file}" for mirror in dataset.mirrors]):
        raise DownloadError(
            f"{dataset.__name__} is not in {root} and cannot be downloaded: no mirror answers; "
            "give the folder that contains it with --data-dir"
        )
    try:
        with _socket_timeout(_STALL_AFTER):
            dataset(str(root), download=True)
    except (RuntimeError, OSError) as error:  # what torchvision raises; URLError and TimeoutError are OSErrors
        raise DownloadError(f"{dataset.__name__} cannot be downloaded to {root}: {error}") from error


def _any_answers(urls: list[str]) -> bool:
    """Whether one of `urls` can be opened. Uses threads, because no timeout covers name resolution."""
    answered = threading.Event()
    done = threading.Semaphore(0)

    def ask(url: str) -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_STALL_AFTER):
                answered.set()
        except (OSError, urllib.error.URLError):
            pass  # no answer from this mirror: `answered` stays unset
        finally:
            done.release()

    for url in urls:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    for _ in urls:
        if answered.is_set() or not done.acquire(timeout=_ANSWER_WITHIN):
            break
    return answered.is_set()


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Sets the default socket timeout, because torchvision opens connections without one and has no option for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
