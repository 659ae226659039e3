"""Run one graph of a bundle in an engine of somebody else, in that engine's environment, for `benchmarks/engines.py`.

    python run_engine.py ENGINE FOLDER GRAPH INPUTS.npz OUTPUTS.npz

FOLDER holds GRAPH.onnx, and GRAPH.pt2 or GRAPH.pte for engines that read those. The inputs are in the graph's order.
Nothing of this project is imported here.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BATCH = "N"  # the name of the dynamic dimension in the exported graphs


def onnxruntime(folder, graph, feed):
    import onnxruntime as ort

    session = ort.InferenceSession(str(folder / f"{graph}.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def openvino(folder, graph, feed):
    import openvino as ov

    core = ov.Core()
    model = core.compile_model(str(folder / f"{graph}.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = model(list(feed.values()))
    return [results[port] for port in model.outputs]


def tvm(folder, graph, feed):
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    shapes = {name: list(array.shape) for name, array in feed.items()}
    dtypes = {name: str(array.dtype) for name, array in feed.items()}
    module = from_onnx(onnx.load(folder / f"{graph}.onnx"), shapes, dtypes)
    module = relax.get_pipeline("zero")(module)
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    result = machine["main"](*(tvm.runtime.tensor(array) for array in feed.values()))
    return [part.numpy() for part in (result if not hasattr(result, "numpy") else [result])]


def iree(folder, graph, feed):
    import iree.runtime as rt

    tools = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as scratch:
        program, compiled = Path(scratch) / "graph.mlir", Path(scratch) / "graph.vmfb"
        must(tools / "iree-import-onnx", folder / f"{graph}.onnx", "-o", program)
        target = ("--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu")
        must(tools / "iree-compile", program, *target, "--iree-llvmcpu-target-cpu=host", "-o", compiled)
        config = rt.Config("local-task")
        module = rt.load_vm_module(rt.VmModule.mmap(config.vm_instance, str(compiled)), config)
        (name,) = (name for name in module.vm_module.function_names if not name.startswith("__") and "$" not in name)
        result = module[name](*feed.values())
        arrays = [part.to_host() for part in (result if isinstance(result, tuple) else (result,))]
        return [array.view(np.uint8) if array.dtype == np.int8 else array for array in arrays]  # it signs all bytes


def tinygrad(folder, graph, feed):
    from tinygrad import Tensor
    from tinygrad.nn.onnx import OnnxRunner

    outputs = OnnxRunner(folder / f"{graph}.onnx")({name: Tensor(array) for name, array in feed.items()})
    return [output.numpy() for output in outputs.values()]


def jax(folder, graph, feed):
    import jax
    import onnx
    from jaxonnxruntime import call_onnx, config

    jax.config.update("jax_enable_x64", True)
    config.update("jaxort_only_allow_initializers_as_static_args", False)
    function, weights = call_onnx.call_onnx_model(onnx.load(folder / f"{graph}.onnx"), feed)
    return [np.asarray(output) for output in function(weights, feed)]


def onnx2tf(folder, graph, feed):
    """TensorFlow Lite by conversion from ONNX."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = max(array.shape[0] for array in feed.values() if array.ndim)
        options = ("-b", rows, "-kat", *feed, "-n", "-coion")
        must(Path(sys.executable).parent / "onnx2tf", "-i", folder / f"{graph}.onnx", "-o", scratch, *options)
        return lite(next(Path(scratch).glob("*_float32.tflite")).read_bytes(), feed)


def litert(folder, graph, feed):
    """LiteRT by conversion from PyTorch's program."""
    import litert_torch
    import torch

    module = torch.export.load(folder / f"{graph}.pt2").module()
    converted = litert_torch.convert(module, tuple(torch.from_numpy(array) for array in feed.values()))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "graph.tflite"
        converted.export(str(path))
        return lite(path.read_bytes(), feed)


def lite(content, feed):
    """Outputs of a TensorFlow Lite file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    ports = sorted(interpreter.get_input_details(), key=lambda port: port["name"])
    for port in ports:
        names = [name for name in feed if name in port["name"]]
        array = feed[names[0]] if names else list(feed.values())[ports.index(port)]
        interpreter.set_tensor(port["index"], array.astype(port["dtype"]).reshape(port["shape"]))
    interpreter.invoke()
    return [interpreter.get_tensor(port["index"]) for port in interpreter.get_output_details()]


def executorch(folder, graph, feed):
    import torch
    from executorch.runtime import Runtime

    file, method = ("sampler", "latents") if graph == "latents" else (graph, "forward")
    program = Runtime.get().load_program(folder / f"{file}.pte").load_method(method)
    return [output.numpy() for output in program.execute([torch.from_numpy(array) for array in feed.values()])]


def emx(folder, graph, feed):
    """C by emx-onnx-cgen, compiled without -ffast-math."""
    import onnx

    model = onnx.load(folder / f"{graph}.onnx")
    rows = max(array.shape[0] for array in feed.values() if array.ndim)
    with tempfile.TemporaryDirectory() as scratch:
        source, library = Path(scratch) / "graph.c", Path(scratch) / "graph.so"
        tool = Path(sys.executable).parent / "emx-onnx-cgen"
        must(
            *(tool, "compile", folder / f"{graph}.onnx", source, "--model-name", "graph"),
            *("--input-dim", f"{BATCH}={rows}", "--large-weight-threshold", "0", "--large-temp-threshold", "0"),
        )
        must("cc", "-O2", "-shared", "-fPIC", source, "-o", library, "-lm")
        outputs = []
        for port in model.graph.output:
            sizes = [axis.dim_value or rows for axis in port.type.tensor_type.shape.dim]
            outputs.append(np.empty(sizes, onnx.helper.tensor_dtype_to_np_dtype(port.type.tensor_type.elem_type)))
        arrays = [np.array(array, order="C") for array in feed.values()] + outputs  # scalars too go by pointer
        ctypes.CDLL(str(library)).graph(*(array.ctypes.data_as(ctypes.c_void_p) for array in arrays))
        return outputs


def must(*command):
    """Run a program; end with the last line of what it says where it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(reason(done.stderr or done.stdout))


def reason(text):
    """The line of an error message that says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no message"])[0]


def main():
    engine, folder, graph, inputs, outputs = sys.argv[1:]
    with np.load(inputs) as archive:
        feed = {name: archive[name] for name in archive.files}
    np.savez(outputs, *globals()[engine](Path(folder), graph, feed))


if __name__ == "__main__":
    main()
