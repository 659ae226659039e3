"""`manifest.json`: the contract between export and every host, as data, with its reader and writer.

{
  "format_version": 1,                 2 where there is a mixture to draw from, under "prior"
  "prior": {                           only in format 2; the arrays are in prior.npz and prior.json
    "version": 1,
    "kind": "mixture",
    "components": 500,
    "slots": 512,                      of each alias table, a power of two
    "classes": ["0", "1", …]           names; their places are the numbers that `label` takes; [] without classes
  },
  "pixels": 1,                         how image files become pixels (runtime/images/decode.py); absent in old bundles
  "latent_shape": [4, 8, 8],           of one latent inside the model; absent where it is a vector
  "largest_batch": 63,                 rows in one call of a graph; absent where any number will do
  "metadata": {                        the same JSON sits inside every graph file
    "pair_id": "9f86d081884c7d65",     one model's weights; all graphs of a bundle share it
    "noise_version": 1,
    "latent_dim": 32,
    "image_shape": [1, 28, 28],        channels, height, width
    "provenance": {...}                architecture, training data and versions; free form
  },
  "onnx": {"opset": 18, "ir_version": 8, "oldest_onnxruntime": "1.18"},
  "graphs": {
    "decoder": {
      "inputs": [{"name": "z", "dtype": "float32", "shape": ["N", 32], "range": null}],
      "outputs": [{"name": "image", "dtype": "float32", "shape": ["N", 1, 28, 28], "range": [0, 1]}],
      "files": {"onnx": "decoder.onnx", "torchscript": "decoder.pt"}
    }                                  formats: onnx, torchscript, pt2; and smaller ONNX files of the same graph:
  },                                   onnx-int8 (8-bit weights and activations), onnx-fp16 (16-bit weights)
  "c": {                               only where the bundle holds C source
    "header": "generator.h", "source": "generator.c",
    "variants": {"c-int8": "generator.int8.c"}    with smaller weights, for the same header; absent where there are none
  },
  "executorch": {                      only where the bundle holds programs of ExecuTorch
    "version": "1.5.1", "backend": "XNNPACK", "largest_batch": 64, "files": {"decoder": "decoder.pte"}
  },
  "files": {"decoder.onnx": {"bytes": 1092035, "sha256": "…"}}
}
"""

from runtime.manifest.contract import (
    C_FP16,
    C_HEADER_NAME,
    C_INT8,
    C_SOURCE_NAME,
    C_VARIANTS,
    CONTRACTIONS_OF_SHALLOW,
    DEEP_LEVEL_LIMIT,
    DEEP_LIMITS,
    DTYPES,
    FORMAT_VERSIONS,
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
    PRIOR_JSON_NAME,
    PRIOR_NAME,
    PT2,
    PTE,
    RELATIVE_LIMIT,
    SIGNATURES,
    SUFFIXES,
    TORCHSCRIPT,
    C,
    ceiling_of,
)
from runtime.manifest.manifest import Manifest
from runtime.manifest.records import CSource, Executorch, FileRecord, Graph, Metadata, OnnxVersions, Port, PriorRecord

__all__ = [
    "CONTRACTIONS_OF_SHALLOW",
    "C",
    "CSource",
    "C_FP16",
    "C_HEADER_NAME",
    "C_INT8",
    "C_SOURCE_NAME",
    "C_VARIANTS",
    "DEEP_LEVEL_LIMIT",
    "DEEP_LIMITS",
    "DTYPES",
    "Executorch",
    "FORMATS",
    "FORMAT_VERSIONS",
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
    "PRIOR_JSON_NAME",
    "PRIOR_NAME",
    "PriorRecord",
    "PT2",
    "PTE",
    "Port",
    "RELATIVE_LIMIT",
    "SIGNATURES",
    "SUFFIXES",
    "TORCHSCRIPT",
    "ceiling_of",
]
