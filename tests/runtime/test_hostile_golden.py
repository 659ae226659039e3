"""Golden values must have exactly the rows of the contract, so that none can be left out and none take memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.bundle import Bundle
from runtime.errors import BundleError
from runtime.golden import ENCODER_ARRAYS, SAMPLE_ARRAYS, read_golden
from runtime.verify import verify_bundle
from tests.runtime.test_hostile import damaged, fuzz, relist

Arrays = dict[str, Any]


def emptied(arrays: Arrays) -> None:
    for name, array in arrays.items():
        arrays[name] = array[:0] if array.ndim else array


def shortened(arrays: Arrays) -> None:
    for name in ("index", "latents", "decoder_image", "sampler_image"):
        arrays[name] = arrays[name][:1]


def lengthened(arrays: Arrays) -> None:
    for name in ("index", "latents", "decoder_image", "sampler_image"):
        arrays[name] = np.repeat(arrays[name], 2, axis=0)


def without_images(arrays: Arrays) -> None:
    del arrays["decoder_image"]


def with_more(arrays: Arrays) -> None:
    arrays["extra"] = np.zeros(3)


def of_another_type(arrays: Arrays) -> None:
    arrays["latents"] = arrays["latents"].astype(np.float64)


def of_another_shape(arrays: Arrays) -> None:
    arrays["decoder_image"] = arrays["decoder_image"].reshape(8, -1)


def with_objects(arrays: Arrays) -> None:
    arrays["index"] = np.array([{}] * 8, dtype=object)


def with_an_odd_seed(arrays: Arrays) -> None:
    arrays["seed"] = np.array(-1)


def with_a_list_of_seeds(arrays: Arrays) -> None:
    arrays["seed"] = np.arange(2)


@pytest.mark.parametrize(
    "change",
    [
        emptied,
        shortened,
        lengthened,
        without_images,
        with_more,
        of_another_type,
        of_another_shape,
        with_objects,
        with_an_odd_seed,
        with_a_list_of_seeds,
    ],
)
def test_golden_values_of_other_names_types_or_rows_fail(bundle: Path, change: Callable[[Arrays], None]) -> None:
    with np.load(bundle / "golden.npz") as loaded:
        arrays = dict(loaded)
    change(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    relist(bundle, "golden.npz", buffer.getvalue())
    report = verify_bundle(bundle)
    assert [check.name for check in report.checks if not check.passed] == ["golden.npz"]


def test_an_archive_that_unpacks_to_gigabytes_is_refused_by_its_first_array(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (*SAMPLE_ARRAYS, *ENCODER_ARRAYS):
            header = io.BytesIO()
            shape = (2**26,)
            np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(2**26))
    assert len(buffer.getvalue()) < 10**6
    relist(bundle, "golden.npz", buffer.getvalue())
    monkeypatch.setattr(np, "frombuffer", lambda *arguments: pytest.fail("read"))
    with pytest.raises(BundleError, match=r"seed\.npy should be int64 \(\)"):
        read_golden(Bundle.open(bundle))


@fuzz
@given(data=st.data())
def test_damaged_golden_values_with_the_right_hash_are_read_or_refused(bundle: Path, data: st.DataObject) -> None:
    original, manifest = (bundle / "golden.npz").read_bytes(), (bundle / "manifest.json").read_bytes()
    try:
        relist(bundle, "golden.npz", damaged(data, original))
        read_golden(Bundle.open(bundle))
    except BundleError as error:
        assert str(error).isprintable()  # noqa: PT017 (it may also succeed)
    finally:
        (bundle / "golden.npz").write_bytes(original)
        (bundle / "manifest.json").write_bytes(manifest)
