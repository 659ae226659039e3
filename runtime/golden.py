"""`golden.npz`: what it must hold, and a reader that takes no memory before that is proven."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle
from runtime.errors import BundleError
from runtime.files.arrays import ArrayHeader, read_headers
from runtime.manifest import GOLDEN_NAME, Manifest, Metadata

SAMPLES, IMAGES = 8, 4
"""Rows: samples (by seed and index) and test images."""
SAMPLE_ARRAYS = {
    "seed": ("int64", ""),
    "index": ("int64", "S"),
    "latents": ("float32", "SL"),
    "decoder_image": ("float32", "SCHW"),
    "sampler_image": ("uint8", "SHWC"),
}
"""Name → dtype, and a letter for each dimension: S samples, I images, L latents."""
ENCODER_ARRAYS = {
    "encoder_image": ("float32", "ICHW"),
    "encoder_mean": ("float32", "IL"),
    "encoder_log_var": ("float32", "IL"),
    "reconstructor_image_in": ("uint8", "IHWC"),
    "reconstructor_image_out": ("uint8", "IHWC"),
}
"""Further arrays of a model with an encoder."""
MIXTURE_ARRAYS = {"component": ("int64", "S")}
"""Further arrays where the prior is a mixture."""
CLASS_ARRAYS = {"label": ("int64", "S")}
"""Further arrays where the components of the mixture belong to classes."""

_ARCHIVE_START = b"PK\3\4"

Golden = dict[str, npt.NDArray[Any]]


def read_golden(bundle: Bundle) -> Golden:
    """The arrays of `golden.npz`, every type and shape as the tables above say.

    Raises BundleError where one is missing, unknown, not of exactly the rows that it should have, or not finite.
    """
    path = bundle.folder / GOLDEN_NAME
    arrays = _arrays_of(bundle.manifest)
    try:
        content = bundle.read(GOLDEN_NAME)
        if not content.startswith(_ARCHIVE_START):  # an archive may have other content before it
            raise BundleError(f"{path}: is no .npz")
        found = read_headers(io.BytesIO(content))
        if found.keys() != arrays.keys():
            raise BundleError(f"{path}: should hold {', '.join(arrays)} but holds {', '.join(found) or 'nothing'}")
        for name, (dtype, letters) in arrays.items():
            header = ArrayHeader(_sizes(letters, bundle.manifest.metadata), np.dtype(dtype))
            if found[name] != header:
                raise BundleError(
                    f"{path}: {name} should be {header.dtype} {header.shape} but is {found[name].dtype} "
                    f"{found[name].shape}"
                )
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            golden = {name: archive[name] for name in arrays}
    except BundleError:
        raise
    except Exception as error:  # zipfile and NumPy raise whatever damaged bytes cause
        raise BundleError(f"{path}: cannot be read: {error}") from error
    if not int(golden["seed"]) >= 0 or (golden["index"] < 0).any():
        raise BundleError(f"{path}: seed and index should not be negative")
    for name, array in golden.items():
        if not np.isfinite(array).all():
            raise BundleError(f"{path}: {name} holds NaN or infinity")
    prior = bundle.manifest.prior
    if prior is not None and prior.classes:
        label = golden["label"]
        if label.min() < -1 or label.max() >= len(prior.classes):
            raise BundleError(f"{path}: label should be from -1 to {len(prior.classes) - 1}")
    return golden


def golden_case(golden: Golden, graph: str, manifest: Manifest) -> tuple[list[npt.NDArray[Any]], Golden]:
    """Inputs of a graph in its order, at temperature 1, and output name → what the reference gives for them."""
    if graph == "decoder":
        return [golden["latents"]], {"image": golden["decoder_image"]}
    if graph == "encoder":
        return [golden["encoder_image"]], {name: golden[f"encoder_{name}"] for name in ("mean", "log_var")}
    if graph == "reconstructor":
        return [golden["reconstructor_image_in"]], {"reconstruction": golden["reconstructor_image_out"]}
    given = golden | {"temperature": np.array(1, np.float32)}
    return [given[port.name] for port in manifest.graphs["sampler"].inputs], {"image": golden["sampler_image"]}


def _arrays_of(manifest: Manifest) -> dict[str, tuple[str, str]]:
    arrays = dict(SAMPLE_ARRAYS)
    if "encoder" in manifest.graphs:
        arrays |= ENCODER_ARRAYS
    if manifest.prior is not None:
        arrays |= MIXTURE_ARRAYS | (CLASS_ARRAYS if manifest.prior.classes else {})
    return arrays


def _sizes(letters: str, metadata: Metadata) -> tuple[int, ...]:
    channels, height, width = metadata.image_shape
    sizes = {"S": SAMPLES, "I": IMAGES, "L": metadata.latent_dim, "C": channels, "H": height, "W": width}
    return tuple(sizes[letter] for letter in letters)
