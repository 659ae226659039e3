"""Reads what `torch.save` wrote: tensors and plain values of a stranger's file, looked at before memory is taken."""

from __future__ import annotations

import os
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from runtime.files.regular import open_regular
from runtime.machine.memory import shortage
from trainer.errors import CheckpointError


def read_plain(path: Path) -> object:
    """The content of a file written by `torch.save`, on the CPU; only tensors and plain values, no code in it is run.

    Raises CheckpointError if it is missing, damaged, larger than the memory, or holds anything else, such as a tensor
    that claims more numbers than are in the file.
    """
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of torch, about what is refused below
            _check_size(path, file)
            content: object = torch.load(file, map_location="cpu", weights_only=True)
    except (CheckpointError, MemoryError):
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; train a model with vae-train, or name a checkpoint") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: is a folder; name the checkpoint in it, such as {path / 'best.pt'}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch's unpickler and zipfile raise whatever damaged bytes cause
        # torch's own text runs over a screenful and recommends weights_only=False, which would run what is inside.
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint; it is truncated, damaged, or holds more than tensors and "
            f"plain values ({type(error).__name__}); nothing in it was run"
        ) from error
    _check_tensors(path, content)
    return content


def _check_size(path: Path, file: BinaryIO) -> None:
    """Raise CheckpointError where `file` unpacks to more than it holds, or does not fit into memory.

    torch stores tensors as they are, so a file that would grow when it is read was not written by it. Files of the old
    format, which are no archives, cannot grow.
    """
    size = file.seek(0, os.SEEK_END)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > size:
            raise CheckpointError(
                f"{path}: would unpack from {size:,} to {unpacked:,} bytes, which no checkpoint does; do not trust it"
            )
    if lack := shortage(size):
        raise CheckpointError(f"{path}: needs {lack}")
    file.seek(0)


def _check_tensors(path: Path, content: object) -> None:
    """Raise CheckpointError where a tensor is a view that repeats its numbers: it would grow when it is used."""
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
        elif isinstance(value, Tensor) and not _holds_all(value):
            raise CheckpointError(
                f"{path}: holds a tensor {tuple(value.shape)} that claims {value.numel():,} numbers, but not all of "
                "them; save it as a copy, or do not trust it"
            )


def _holds_all(tensor: Tensor) -> bool:
    """Whether there is memory behind every number: not if rows are repeated, or only what is not 0 is stored."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()
