"""Choosing the device, and measuring the peak memory of the process."""

import sys

import torch

from trainer.errors import SettingsError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str) -> torch.device:
    """auto, cpu or cuda as a device; auto takes a GPU if there is one. Raises SettingsError for cuda without a GPU and
    for any other name.

    On a GPU this also turns off TF32 in convolutions: torch allows it by default, and it rounds factors to 11 bits.
    """
    if name not in DEVICES:
        raise SettingsError(f"the device should be {', '.join(DEVICES)} but is {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: torch finds no CUDA device on this machine; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def peak_memory_mb() -> float | None:
    """The largest resident size so far, in MB of 2**20 bytes; None if the operating system does not report it."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
