"""Golden values: a few inputs with the outputs of the float64 reference, so that any host can check itself.

| array | type and shape | what it is |
| --- | --- | --- |
| `seed` | int64 () | seed of the samples |
| `index` | int64 (G,) | indices of the samples: small ones, and some above 2**32 and 2**53 |
| `label` | int64 (G,) | classes asked for, -1 for any; only in bundles of a mixture with classes |
| `component` | int64 (G,) | components of the samples, only in bundles of a mixture |
| `latents` | float32 (G, L) | latents of the samples at temperature 1, to be matched bit for bit |
| `decoder_image` | float32 (G, C, H, W) | output of the decoder for `latents` |
| `sampler_image` | uint8 (G, H, W, C) | output of the sampler for `seed`, `index` (and `label`) at temperature 1 |
| `encoder_image` | float32 (K, C, H, W) | a few test images |
| `encoder_mean`, `encoder_log_var` | float32 (K, L) | output of the encoder for `encoder_image` |
| `reconstructor_image_in` | uint8 (K, H, W, C) | the same images as pixels |
| `reconstructor_image_out` | uint8 (K, H, W, C) | their reconstructions |

`golden.npz` and `golden.json` hold the same arrays. In the JSON file an array is `{"dtype", "shape", "data"}`, with
`data` flat in row-major order. int64 values are strings, because JavaScript numbers are exact only up to 2**53. Each
float32 has enough digits to be read back exactly.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from export.checks.reference import Reference
from export.formats.archive import zip_bytes
from runtime.images.pixels import to_float
from runtime.manifest import GOLDEN_JSON_NAME, GOLDEN_NAME
from runtime.noise import component_words

_SEED = 7
_INDICES = (0, 1, 2, 5, 2**31, 2**32 + 5, 2**53 + 1, 2**63 - 1)
_IMAGES = 4

Golden = dict[str, npt.NDArray[Any]]


def golden_values(reference: Reference, reference_images: npt.NDArray[np.uint8]) -> Golden:
    """The arrays of the table above, by name; those of an encoder where there is one.

    reference_images: uint8 (N, H, W, C), test images.
    """
    index = np.array(_INDICES, np.int64)
    seed = np.array(_SEED, np.int64)
    prior = reference.prior
    chosen = {}
    label = None
    if prior is not None:
        if prior.classes:
            label = np.arange(len(index)) % (len(prior.classes) + 1) - 1
            chosen["label"] = label
        chosen["component"] = reference.component(component_words(_SEED, index), label)
    latents = reference.latents(seed, index, label)
    pixels = np.ascontiguousarray(reference_images[:_IMAGES])
    image = to_float(pixels)
    (decoder_image,) = reference.decoder(latents)
    (sampler_image,) = reference.sampler(seed, index, np.array(1, np.float32), label)
    golden: Golden = {
        "seed": seed,
        "index": index,
        **chosen,
        "latents": latents,
        "decoder_image": decoder_image.astype(np.float32),
        "sampler_image": sampler_image.astype(np.uint8),
    }
    if not reference.has_encoder:
        return golden
    mean, log_var = reference.encoder(image)
    (reconstruction,) = reference.reconstructor(pixels)
    return golden | {
        "encoder_image": image,
        "encoder_mean": mean.astype(np.float32),
        "encoder_log_var": log_var.astype(np.float32),
        "reconstructor_image_in": pixels,
        "reconstructor_image_out": reconstruction.astype(np.uint8),
    }


def golden_files(golden: Golden) -> dict[str, bytes]:
    """File name → content of both files; the same bytes for the same arrays."""
    return {GOLDEN_NAME: _npz(golden), GOLDEN_JSON_NAME: _json(golden)}


def _npz(golden: Golden) -> bytes:
    entries = {}
    for name, array in golden.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
        entries[f"{name}.npy"] = buffer.getvalue()
    return zip_bytes(entries, zipfile.ZIP_DEFLATED)


def _json(golden: Golden) -> bytes:
    content = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape), "data": _plain_values(array)}
        for name, array in golden.items()
    }
    return (json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _plain_values(array: npt.NDArray[Any]) -> list[Any]:
    flat = array.ravel()
    if array.dtype == np.int64:
        return [str(value) for value in flat]
    if array.dtype == np.float32:
        return [float(str(value)) for value in flat]  # the shortest decimal that is read back as the same float32
    return list(flat.tolist())
