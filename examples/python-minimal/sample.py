"""Seed to picture with NumPy and onnxruntime alone: sample.py BUNDLE SEED INDEX OUTPUT.pgm (.ppm for colour)."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

bundle, seed, index, output = sys.argv[1:]
sampler = onnxruntime.InferenceSession(Path(bundle) / "sampler.onnx", providers=["CPUExecutionProvider"])
integers = {"seed": np.array(int(seed), np.int64), "index": np.array([int(index)], np.int64)}
((image,),) = sampler.run(["image"], integers | {"temperature": np.array(1, np.float32)})  # uint8 (H, W, C)
height, width, channels = image.shape
header = f"P{5 if channels == 1 else 6} {width} {height} 255\n"
Path(output).write_bytes(header.encode() + image.tobytes())
