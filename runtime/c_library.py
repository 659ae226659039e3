"""`generator.c` compiled by the host's C compiler and called through ctypes, on NumPy arrays.

It runs the code in the file: only for a bundle that was just made here, or whose maker is trusted.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import EngineError
from runtime.manifest import C_HEADER_NAME, C_SOURCE_NAME

_FLAGS = ("-O2", "-shared", "-fPIC")
_ERRORS = {-1: "a null pointer", -2: "a seed or an index out of range", -3: "an unknown label", -4: "no finite number"}


def find_compiler() -> tuple[str, ...] | None:
    """The C compiler that CC names, with its arguments, or `cc`; None where this machine has none."""
    command = tuple(shlex.split(os.environ.get("CC") or "cc"))
    return command if shutil.which(command[0]) else None


class Library:
    """The functions of `generator.h` on batches. Raises EngineError where one of them refuses its arguments."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        compiler: Sequence[str],
        flags: Sequence[str] = _FLAGS,
        source: str = C_SOURCE_NAME,
    ) -> None:
        """files: the header and the source of that name. Raises EngineError where they do not compile or fail their
        self-test.
        """
        self.source = source
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            for name in (C_HEADER_NAME, source):
                (Path(folder) / name).write_bytes(files[name])
            target = Path(folder) / "generator.so"
            command = [*compiler, *flags, "-o", target.name, source]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise EngineError(f"{compiler[0]} refuses {source}: {' '.join(done.stderr.split())[:300]}")
            self._functions = ctypes.CDLL(str(target))
        found = self._functions.vae_self_test()
        if found:
            raise EngineError(f"{source} compiled by {compiler[0]}: vae_self_test returns {found}")
        self.compiler = _version(compiler)

    def latents(
        self, seed: int, indices: npt.NDArray[np.int64], latent_dim: int, label: int = -1, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """(N, L)."""
        z = np.empty((len(indices), latent_dim), np.float32)
        for row, index in zip(z, indices, strict=True):
            numbers = ctypes.c_uint64(seed), ctypes.c_uint64(int(index))
            self._call("vae_latents", *numbers, *_prior(label, temperature), row)
        return z

    def sample(
        self,
        seed: int,
        indices: npt.NDArray[np.int64],
        shape: Sequence[int],
        label: int = -1,
        temperature: float = 1.0,
    ) -> npt.NDArray[np.uint8]:
        """Pixels (N, *shape)."""
        pixels = np.empty((len(indices), *shape), np.uint8)
        numbers = np.ascontiguousarray(indices, np.uint64)
        count = ctypes.c_size_t(len(numbers))
        self._call("vae_sample_batch", ctypes.c_uint64(seed), numbers, count, *_prior(label, temperature), pixels)
        return pixels

    def decode(self, z: npt.NDArray[np.float32], shape: Sequence[int]) -> npt.NDArray[np.float32]:
        """z (N, L) → images (N, *shape)."""
        image = np.empty((len(z), *shape), np.float32)
        self._call("vae_decode_batch", np.ascontiguousarray(z), ctypes.c_size_t(len(z)), image)
        return image

    def encode(self, image: npt.NDArray[np.float32], latent_dim: int) -> list[npt.NDArray[np.float32]]:
        """Images (N, C, H, W) → mean and log-variance, (N, L) each."""
        mean, log_var = np.empty((2, len(image), latent_dim), np.float32)
        count = ctypes.c_size_t(len(image))
        self._call("vae_encode_batch", np.ascontiguousarray(image), count, mean, log_var)
        return [mean, log_var]

    def reconstruct(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Pixels (N, H, W, C) → pixels."""
        result = np.empty_like(pixels, order="C")
        self._call("vae_reconstruct_batch", np.ascontiguousarray(pixels), ctypes.c_size_t(len(pixels)), result)
        return result

    def _call(self, name: str, *arguments: Any) -> None:
        pointers = [
            argument.ctypes.data_as(ctypes.c_void_p) if isinstance(argument, np.ndarray) else argument
            for argument in arguments
        ]
        code = getattr(self._functions, name)(*pointers)
        if code:
            raise EngineError(f"{name} of {self.source} refuses {_ERRORS.get(code, code)}")


def _prior(label: int, temperature: float) -> tuple[ctypes.c_int64, ctypes.c_float]:
    return ctypes.c_int64(label), ctypes.c_float(temperature)


def _version(compiler: Sequence[str]) -> str:
    """As the compiler names itself: the first line of --version."""
    done = subprocess.run([compiler[0], "--version"], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    return lines[0] if lines else Path(compiler[0]).name
