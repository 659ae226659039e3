"""The contract between export and every host: names, formats, ports and numeric limits, each said once."""

MANIFEST_NAME = "manifest.json"
PARITY_NAME = "parity.json"
"""The certificate: what the parity check measured at export, and the limit of each output."""
GOLDEN_NAME = "golden.npz"
"""Inputs with the outputs of the float64 reference, for a host to check itself against."""
GOLDEN_JSON_NAME = "golden.json"
"""The same values for hosts without NumPy."""
METADATA_KEY = "vae_toolchain"
"""Name under which the metadata JSON is kept in ONNX `metadata_props` and in TorchScript extra files."""

FORMAT_VERSION = 1
PIXELS_VERSION = 1
"""How image files become pixels: the recipe at the top of `runtime/images/decode.py`."""

ONNX, ONNX_INT8, ONNX_FP16, TORCHSCRIPT, PT2 = "onnx", "onnx-int8", "onnx-fp16", "torchscript", "pt2"
SUFFIXES = {
    ONNX: ".onnx",
    ONNX_INT8: ".int8.onnx",
    ONNX_FP16: ".fp16.onnx",
    TORCHSCRIPT: ".pt",
    PT2: ".pt2",
}
"""Format → ending of its files' names. int8: 8-bit weights and activations; fp16: 16-bit weights."""
FORMATS = (ONNX, TORCHSCRIPT, PT2)
"""Formats in which a graph is exported; the others are made from its ONNX file."""
PRECISIONS = {"float32": ONNX, "int8": ONNX_INT8, "fp16": ONNX_FP16}
"""What `--precision` calls a format that onnxruntime runs → that format."""

DTYPES = ("float32", "int64", "uint8")
_IMAGE = ("image", "float32", "NCHW")
_PIXELS = "uint8", "NHWC"
SIGNATURES = {
    "decoder": ([("z", "float32", "NL")], [_IMAGE]),
    "encoder": ([_IMAGE], [("mean", "float32", "NL"), ("log_var", "float32", "NL")]),
    "sampler": (
        [("seed", "int64", ""), ("index", "int64", "N"), ("temperature", "float32", "")],
        [("image", *_PIXELS)],
    ),
    "reconstructor": ([("image", *_PIXELS)], [("reconstruction", *_PIXELS)]),
}
"""Graph → its inputs and outputs: name, dtype, and a letter for each dimension (L is latent_dim)."""

RELATIVE_LIMIT = 1e-5
"""Largest |x - reference| / max(1, |reference|) of images and means, in every engine."""
DEEP_LIMIT = 1e-3
"""The most that the limit of an image or a mean can be in deep models, a quarter of a grey level."""
HARD_OUTPUTS = ("image", "mean")
"""Float outputs with such a ceiling; the limit of others follows what float32 can do for them."""
LEVEL_LIMIT = 1
"""Largest difference of a uint8 pixel from the reference, in grey levels."""
