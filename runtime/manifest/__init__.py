"""`manifest.json`: the contract between export and every host, as data, with its reader and writer.

{
  "format_version": 1,
  "pixels": 1,                         how image files become pixels (runtime/images/decode.py); absent in old bundles
  "latent_shape": [4, 8, 8],           of one latent inside the model; absent where it is a vector
  "largest_batch": 63,                 rows in one call of a graph; absent where any number will do
  "metadata": {                        the same JSON sits inside every graph file
    "pair_id": "9f86d081884c7d65",     one model's weights; all graphs of a bundle share it
    "noise_version": 1,
    "latent_dim": 32,
    "image_shape": [1, 28, 28],        channels, height, width
    "provenance": {...}                what was trained, on what, by which versions; free form
  },
  "onnx": {"opset": 18, "ir_version": 8, "oldest_onnxruntime": "1.18"},
  "graphs": {
    "decoder": {
      "inputs": [{"name": "z", "dtype": "float32", "shape": ["N", 32], "range": null}],
      "outputs": [{"name": "image", "dtype": "float32", "shape": ["N", 1, 28, 28], "range": [0, 1]}],
      "files": {"onnx": "decoder.onnx", "torchscript": "decoder.pt"}
    }                                  formats: onnx, torchscript, pt2; and smaller ONNX files of the same graph:
  },                                   onnx-int8 (8-bit weights and activations), onnx-fp16 (16-bit weights)
  "files": {"decoder.onnx": {"bytes": 1092035, "sha256": "…"}}
}
"""

from runtime.manifest.contract import (
    DEEP_LIMIT,
    DTYPES,
    FORMAT_VERSION,
    FORMATS,
    GOLDEN_JSON_NAME,
    GOLDEN_NAME,
    HARD_OUTPUTS,
    LEVEL_LIMIT,
    MANIFEST_NAME,
    METADATA_KEY,
    ONNX,
    ONNX_FP16,
    ONNX_INT8,
    PARITY_NAME,
    PIXELS_VERSION,
    PRECISIONS,
    PT2,
    RELATIVE_LIMIT,
    SIGNATURES,
    SUFFIXES,
    TORCHSCRIPT,
)
from runtime.manifest.manifest import Manifest
from runtime.manifest.records import FileRecord, Graph, Metadata, OnnxVersions, Port

__all__ = [
    "DEEP_LIMIT",
    "DTYPES",
    "FORMATS",
    "FORMAT_VERSION",
    "FileRecord",
    "GOLDEN_JSON_NAME",
    "GOLDEN_NAME",
    "HARD_OUTPUTS",
    "Graph",
    "LEVEL_LIMIT",
    "MANIFEST_NAME",
    "METADATA_KEY",
    "Manifest",
    "Metadata",
    "ONNX",
    "ONNX_FP16",
    "ONNX_INT8",
    "OnnxVersions",
    "PARITY_NAME",
    "PIXELS_VERSION",
    "PRECISIONS",
    "PT2",
    "Port",
    "RELATIVE_LIMIT",
    "SIGNATURES",
    "SUFFIXES",
    "TORCHSCRIPT",
]
