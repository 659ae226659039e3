"""Opens one graph of a bundle in onnxruntime and checks it against the manifest."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from runtime.bundle import Bundle
from runtime.errors import BundleError, EngineError
from runtime.manifest import MANIFEST_NAME, METADATA_KEY, PRECISIONS, Port
from runtime.onnx_guard.checked import read_checked_graph
from runtime.onnx_guard.limits import Work
from runtime.providers import CPU, short_name

LARGE = 2**26
"""Multiplications for one image from which on a block holds no more images than keep the weights busy."""
SHARED = 2**27
"""The same from which on threads share a call, some milliseconds of one; below, waking them costs as much."""

_ORT_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)", "uint8": "tensor(uint8)"}


def open_session(
    content: bytes, *, threads: int = 1, optimize: bool = True, providers: Sequence[str] = (CPU,)
) -> onnxruntime.InferenceSession:
    """An ONNX model, with the options that every session of this project has.

    content: the file. threads: of onnxruntime for one call; they sleep between calls rather than spin, which would
    occupy a core each. optimize: let onnxruntime rewrite the graph. providers: as from `check_providers`; the CPU
    computes what they cannot only where it is one of them. Raises EngineError where one does not start, otherwise what
    onnxruntime raises.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # nothing: errors reach the caller as exceptions, their text still to be escaped
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    if CPU not in providers:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = onnxruntime.InferenceSession(content, options, providers=list(providers), enable_fallback=0)
    # Where a provider's libraries are missing, onnxruntime warns and goes on with the others.
    for missing in [each for each in providers if each not in session.get_providers()]:
        raise EngineError(f"the provider {short_name(missing)} of onnxruntime does not start on this machine")
    if threads > 1:
        _with_threads.add(session)
    return session


_with_threads: weakref.WeakSet[onnxruntime.InferenceSession] = weakref.WeakSet()


def _keep_for_ever() -> None:
    """In a forked child: keep the sessions that have threads of their own.

    They still compute there, in the calling thread, but the threads were left behind, and the end of such a session
    would wait for them for ever.
    """
    for session in _with_threads:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_for_ever)


class GraphSession:
    """A graph, ready to run. Safe to call from several threads, and in a forked child.

    A call computes in the thread that makes it. onnxruntime's own pool would divide each small matrix product between
    threads that wait for each other, or spin; dividing the images instead (`runtime.blocks`) is faster, leaves nothing
    running between calls, survives a fork, and makes the result independent of the number of threads. Only where there
    are fewer images than threads does a large graph let several threads share a call.
    """

    work: Work
    """What the graph computes for one image."""

    def __init__(
        self,
        bundle: Bundle,
        graph: str,
        *,
        precision: str = "float32",
        threads: int = 1,
        threads_of_large: int = 1,
        optimize: bool = True,
        providers: Sequence[str] = (CPU,),
    ) -> None:
        """Open `graph` (decoder, encoder, …) of `bundle`.

        precision: one of PRECISIONS. threads: of onnxruntime for one call. threads_of_large: the same for a call of
        `run` where the graph is large. optimize: let onnxruntime rewrite the graph; the parity check measures it both
        ways. providers: as from `check_providers`. Raises BundleError where the bundle has no such file, the file is
        damaged, is not what the manifest describes, or belongs to another model, and EngineError where a provider other
        than the CPU cannot run it.
        """
        self.name = bundle.graph_file(graph, PRECISIONS[precision])
        description = bundle.manifest.graphs[graph]
        content, self.work = read_checked_graph(bundle, self.name, description)
        try:
            self._session = open_session(content, threads=threads, optimize=optimize, providers=providers)
            # Read here what is text in the file, for it may be none: a damaged name raises UnicodeDecodeError.
            metadata = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")
            inputs, outputs = (
                {
                    node.name: (node.type, tuple(size if isinstance(size, int) else "N" for size in node.shape))
                    for node in side
                }
                for side in (self._session.get_inputs(), self._session.get_outputs())
            )
        except EngineError:
            raise
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            reason = " ".join(str(error).split())
            if CPU not in providers:
                raise EngineError(
                    f"{self.name} does not run on {', '.join(map(short_name, providers))} alone; add the provider cpu "
                    f"for the rest of it ({reason})"
                ) from error
            raise BundleError(f"{bundle.folder / self.name}: onnxruntime cannot load it: {reason}") from error
        self._check_pairing(bundle, metadata)
        self._check_ports("input", inputs, description.inputs)
        self._check_ports("output", outputs, description.outputs)
        self._input_ports, self._output_ports = description.inputs, description.outputs
        self._inputs = [port.name for port in description.inputs]
        self._outputs = [port.name for port in description.outputs]
        self._bound = threading.local()
        self._lock = threading.Lock()
        self._calls = 0
        self._shared: onnxruntime.InferenceSession | None = None
        shared = threads_of_large > threads and list(providers) == [CPU]  # another provider has threads of its own
        self._open_shared = partial(self._reopen, bundle, threads_of_large) if shared else None

    @property
    def large(self) -> bool:
        """Whether a few images are work enough for a call."""
        return self.work.multiplications >= LARGE

    def run(self, *inputs: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Outputs in the manifest's order, for inputs in the manifest's order."""
        shared = self._open_shared is not None and self.work.multiplications >= SHARED
        session = self._session_of_threads() if shared else self._session
        with _failures_of(self.name):
            outputs: list[npt.NDArray[Any]] = session.run(self._outputs, dict(zip(self._inputs, inputs, strict=True)))
        return outputs

    def _session_of_threads(self) -> onnxruntime.InferenceSession:
        """A second session, whose calls are shared by threads; opened at the second call, as it has weights too."""
        assert self._open_shared is not None
        with self._lock:
            self._calls += 1
            if self._calls > 1 and self._shared is None:
                self._shared = self._open_shared()
            return self._shared or self._session

    def _reopen(self, bundle: Bundle, threads: int) -> onnxruntime.InferenceSession:
        with _failures_of(self.name):
            return open_session(bundle.read(self.name), threads=threads)

    def bind(self, rows: int) -> BoundGraph:
        """The graph with memory of its own for batches of `rows`: for many calls of one size in one thread.

        A thread that asks again gets the same memory again.
        """
        if getattr(self._bound, "rows", None) != rows:
            self._bound.graph = BoundGraph(self.name, self._session, self._input_ports, self._output_ports, rows)
            self._bound.rows = rows
        bound: BoundGraph = self._bound.graph
        return bound

    def _check_pairing(self, bundle: Bundle, found: str) -> None:
        """Check that the graph's metadata equals the manifest's, so that decoder and encoder belong to one model."""
        expected = bundle.manifest.metadata.to_json()
        if found == expected:
            return
        try:
            pair_id = json.loads(found)["pair_id"]
        except (ValueError, KeyError, TypeError):
            pair_id = "none"
        raise BundleError(
            f"{bundle.folder / self.name}: its metadata (pair id {pair_id}) differs from {MANIFEST_NAME} "
            f"(pair id {bundle.manifest.metadata.pair_id}); the files come from different exports: run vae-export again"
        )

    def _check_ports(
        self, side: str, found: Mapping[str, tuple[str, tuple[int | str, ...]]], expected: Sequence[Port]
    ) -> None:
        if set(found) != {port.name for port in expected}:
            raise BundleError(
                f"{MANIFEST_NAME}: {self.name} should have the {side}s {', '.join(port.name for port in expected)} "
                f"but has {', '.join(found) or 'none'}; run vae-export again on this checkpoint"
            )
        for port in expected:
            kind, shape = found[port.name]
            if shape != port.shape or kind != _ORT_TYPES[port.dtype]:
                raise BundleError(
                    f'{MANIFEST_NAME}: {side} "{port.name}" should be {port.dtype} {_show(port.shape)} '
                    f"but {self.name} has {kind} {_show(shape)}; run vae-export again on this checkpoint"
                )


class BoundGraph:
    """A graph between fixed arrays: fill `inputs`, call `run`, read `outputs`. For one thread.

    Nothing is allocated in a call. Fresh memory for every batch costs page faults, a tenth of the time of a small
    decoder.
    """

    def __init__(
        self,
        name: str,
        session: onnxruntime.InferenceSession,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        rows: int,
    ) -> None:
        self._name = name
        self._session = session
        self._binding = session.io_binding()
        self.inputs = [_array(port, rows) for port in inputs]
        self.outputs = [_array(port, rows) for port in outputs]
        for port, array in zip(inputs, self.inputs, strict=True):
            self._binding.bind_input(port.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for port, array in zip(outputs, self.outputs, strict=True):
            self._binding.bind_output(port.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self) -> None:
        """`inputs` → `outputs`, in place."""
        with _failures_of(self._name):
            self._session.run_with_iobinding(self._binding)


@contextmanager
def _failures_of(name: str) -> Iterator[None]:
    """What onnxruntime raises while it computes, as a BundleError."""
    try:
        yield
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        reason = " ".join(str(error).split())
        raise BundleError(f"{name}: onnxruntime cannot compute it: {reason}") from error


def _array(port: Port, rows: int) -> npt.NDArray[Any]:
    return np.zeros([rows if size == "N" else int(size) for size in port.shape], port.dtype)


def _show(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))})"
