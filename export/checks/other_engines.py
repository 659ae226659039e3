"""OpenVINO and OpenCV's DNN module, for `--strict-engines`: engines of other makers, on the same ONNX files.

Neither runs the sampler. OpenCV has no bitwise operators and says so; OpenVINO's CPU plugin computes int64 in 32 bits
without a word and draws other latents. There, draw the latents on the host and run the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from export.graphs import GraphSpec

Arrays = Sequence[npt.NDArray[Any]]


def other_engines(spec: GraphSpec, content: bytes) -> Iterator[tuple[str, Callable[[Arrays], Arrays]]]:
    """Name and function of each engine that is installed and has the graph's operators. content: the ONNX file."""
    if find_spec("openvino") and spec.name != "sampler":
        yield "OpenVINO", _openvino(content)
    if find_spec("cv2") and spec.name in ("decoder", "encoder"):
        yield "OpenCV", _opencv(spec, content)


def _openvino(content: bytes) -> Callable[[Arrays], Arrays]:
    import openvino

    core = openvino.Core()
    # Left to itself it computes in bfloat16 where the CPU can.
    model = core.compile_model(core.read_model(content, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: Arrays) -> Arrays:
        results = model(list(inputs))
        return [results[port] for port in model.outputs]

    return run


def _opencv(spec: GraphSpec, content: bytes) -> Callable[[Arrays], Arrays]:
    import cv2

    cv2.utils.logging.setLogLevel(
        cv2.utils.logging.LOG_LEVEL_SILENT
    )  # it reports every fall-back between its two parsers
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    outputs = [port.name for port in spec.outputs]

    def run(inputs: Arrays) -> Arrays:
        for port, array in zip(spec.inputs, inputs, strict=True):
            network.setInput(array, port.name)
        return [output.copy() for output in network.forward(outputs)]  # its buffers are overwritten by the next call

    return run
