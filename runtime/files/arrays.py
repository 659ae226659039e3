"""Arrays in `.npy` and `.npz` files of others: what each claims to be, known before memory is taken for it."""

from __future__ import annotations

import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from runtime.files.regular import open_regular

_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class ArrayHeader:
    """What the header of an array says of it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Memory that the array takes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_headers(file: BinaryIO) -> dict[str, ArrayHeader]:
    """Name → header of every array in a `.npz`; the only one of a `.npy` is called "". `file` is left at its start.

    Raises ValueError where a header claims more than follows it, which NumPy would take memory for, where an array
    holds objects, which only code can read, or where two have one name; and whatever zipfile and NumPy raise for
    damaged bytes.
    """
    found: dict[str, ArrayHeader] = {}
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name == member.filename:  # no array
                    continue
                if name in found:
                    raise ValueError(f"it holds {name} twice")
                with archive.open(member) as inner:
                    found[name] = _read_header(inner, member.file_size)
    else:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        found[""] = _read_header(file, size)
    file.seek(0)
    return found


def load_array(path: Path) -> npt.NDArray[Any]:
    """The array of a `.npy` file. Raises OSError where it is no regular file, ValueError where it is no such array."""
    with open_regular(path) as file:
        if list(read_headers(file)) != [""]:
            raise ValueError("it is no .npy file")
        array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    return array


def _read_header(file: Any, size: int) -> ArrayHeader:
    """file: at the start of an array. size: bytes of the header and the array."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADER_READERS:
        raise ValueError(f"it is of version {version[0]}.{version[1]} of the format")
    shape, _, dtype = _HEADER_READERS[version](file)
    header = ArrayHeader(shape, dtype)
    if dtype.hasobject:
        raise ValueError("it holds objects, which only code can read")
    if min(shape, default=0) < 0 or header.nbytes > size - file.tell():
        raise ValueError(f"its header claims {dtype} {shape}, but it holds {size:,} bytes")
    return header
