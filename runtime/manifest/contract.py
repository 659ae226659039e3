"""The contract between export and every host: file names, formats, graph signatures and numeric limits."""

MANIFEST_NAME = "manifest.json"
PARITY_NAME = "parity.json"
"""The certificate: what the parity check measured at export, and the limit of each output."""
GOLDEN_NAME = "golden.npz"
"""Inputs with the outputs of the float64 reference; a host can check itself against them."""
GOLDEN_JSON_NAME = "golden.json"
"""The same values for hosts without NumPy."""
METADATA_KEY = "vae_toolchain"
"""Name under which the metadata JSON is kept in ONNX `metadata_props` and in TorchScript extra files."""

PRIOR_NAME = "prior.npz"
"""The arrays of a mixture (`runtime.prior`), in bundles of format 2."""
PRIOR_JSON_NAME = "prior.json"
"""The same for hosts without NumPy."""

FORMAT_VERSIONS = (1, 2)
"""1: samples are drawn from N(0, I). 2: from a mixture, which the manifest describes."""
PIXELS_VERSION = 1
"""Version of the conversion of image files to pixels, described in `runtime/images/decode.py`."""

ONNX, ONNX_INT8, ONNX_FP16, TORCHSCRIPT, PT2 = "onnx", "onnx-int8", "onnx-fp16", "torchscript", "pt2"
SUFFIXES = {
    ONNX: ".onnx",
    ONNX_INT8: ".int8.onnx",
    ONNX_FP16: ".fp16.onnx",
    TORCHSCRIPT: ".pt",
    PT2: ".pt2",
}
"""Format → ending of its files' names. int8: 8-bit weights and activations; fp16: 16-bit weights."""
C = "c"
"""Format of the whole generator as C source, two files for all graphs together."""
C_HEADER_NAME, C_SOURCE_NAME = "generator.h", "generator.c"
C_INT8, C_FP16 = "c-int8", "c-fp16"
"""The same source with weights in 8 or 16 bits: one file more, for the same header."""
C_VARIANTS = {C_INT8: "generator.int8.c", C_FP16: "generator.fp16.c"}
PTE = "pte"
"""Format of the graphs as programs of ExecuTorch."""
FORMATS = (ONNX, TORCHSCRIPT, PT2)
"""Formats of every graph that need no further package or compiler."""
PRECISIONS = {"float32": ONNX, "int8": ONNX_INT8, "fp16": ONNX_FP16}
"""Value of `--precision` → the ONNX format that it selects."""

DTYPES = ("float32", "int64", "uint8")
_IMAGE = ("image", "float32", "NCHW")
_PIXELS = "uint8", "NHWC"
SIGNATURES = {
    "decoder": ([("z", "float32", "NL")], [_IMAGE]),
    "encoder": ([_IMAGE], [("mean", "float32", "NL"), ("log_var", "float32", "NL")]),
    "sampler": (
        [("seed", "int64", ""), ("index", "int64", "N"), ("temperature", "float32", ""), ("label", "int64", "N")],
        [("image", *_PIXELS)],
    ),
    "reconstructor": ([("image", *_PIXELS)], [("reconstruction", *_PIXELS)]),
}
"""Graph → its inputs and outputs: name, dtype, and a letter for each dimension (L is latent_dim).

Only the sampler of a mixture with classes has the input `label`.
"""

RELATIVE_LIMIT = 1e-5
"""Largest allowed |x - reference| / max(1, |reference|) of images and means, in every engine."""
CONTRACTIONS_OF_SHALLOW = 8
"""Matrix products and convolutions of a graph up to which RELATIVE_LIMIT holds, if it does not normalise."""
DEEP_LIMITS = {"image": 1e-3, "mean": 1e-2}
"""The same for other graphs, whose layers multiply the errors before them: a quarter of a grey level, and a hundredth
of the deviation of N(0, 1). What a mean is worth shows in the reconstructor, which is held to LEVEL_LIMIT."""
HARD_OUTPUTS = tuple(DEEP_LIMITS)
"""Float outputs with such a ceiling; the limit of others follows what float32 can do for them."""


def ceiling_of(output: str, contractions: int, normalises: bool) -> float:
    """The most that an output, one of HARD_OUTPUTS, may err in a graph of so many matrix products and convolutions.

    normalises: whether it divides by a deviation that it computes, as group, layer and instance normalisation do.
    """
    return RELATIVE_LIMIT if contractions <= CONTRACTIONS_OF_SHALLOW and not normalises else DEEP_LIMITS[output]


LEVEL_LIMIT = 1
"""Largest allowed difference of a uint8 pixel from the reference, in grey levels."""
DEEP_LEVEL_LIMIT = 4
"""The most that LEVEL_LIMIT can become for reconstructions of black or white images, where float32 can do no better."""
