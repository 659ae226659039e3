"""OpenVINO and OpenCV's DNN module on the exported ONNX files, for `--strict-engines`.

Neither can run the sampler. OpenCV has no bitwise operators and raises an error. OpenVINO's CPU plugin silently
computes int64 in 32 bits, which `export.formats.int64_guard` turns into black pictures. With these engines, draw the
latents on the host and run the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from export.specs import GraphSpec

Arrays = Sequence[npt.NDArray[Any]]


def other_engines(spec: GraphSpec, content: bytes) -> Iterator[tuple[str, Callable[[Arrays], Arrays]]]:
    """Name and run function of each installed engine that supports the graph. content: the ONNX file."""
    if find_spec("openvino") and spec.name != "sampler":
        yield "OpenVINO", _openvino(content)
    if find_spec("cv2") and spec.name in ("decoder", "encoder"):
        yield "OpenCV", _opencv(spec, content)


def _openvino(content: bytes) -> Callable[[Arrays], Arrays]:
    import openvino

    core = openvino.Core()
    # The default is bfloat16 on CPUs that support it.
    model = core.compile_model(core.read_model(content, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: Arrays) -> Arrays:
        results = model(list(inputs))
        return [results[port] for port in model.outputs]

    return run


def _opencv(spec: GraphSpec, content: bytes) -> Callable[[Arrays], Arrays]:
    import cv2

    # It logs every fall-back between its two parsers.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    outputs = [port.name for port in spec.outputs]

    def run(inputs: Arrays) -> Arrays:
        for port, array in zip(spec.inputs, inputs, strict=True):
            network.setInput(array, port.name)
        return [output.copy() for output in network.forward(outputs)]  # the next call overwrites its buffers

    return run
