"""Seed to picture with NumPy and onnxruntime alone: sample.py BUNDLE SEED INDEX OUTPUT.pgm [CLASS].

OUTPUT ends in .ppm for colour. CLASS is the number of a class, for bundles that can draw classes; without one, any.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

bundle, seed, index, output, *label = sys.argv[1:]
sampler = onnxruntime.InferenceSession(Path(bundle) / "sampler.onnx", providers=["CPUExecutionProvider"])
numbers = {"seed": np.array(int(seed), np.int64), "index": np.array([int(index)], np.int64)}
numbers["temperature"] = np.array(1, np.float32)
if label or len(sampler.get_inputs()) == 4:  # a sampler of data with classes
    numbers["label"] = np.array([int(number) for number in label or ["-1"]], np.int64)
((image,),) = sampler.run(["image"], numbers)  # uint8 (H, W, C)
height, width, channels = image.shape
header = f"P{5 if channels == 1 else 6} {width} {height} 255\n"
Path(output).write_bytes(header.encode() + image.tobytes())
