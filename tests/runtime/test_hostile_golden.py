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
from tests.fuzzing import contained, damaged, fuzz, fuzz_a_little
from tests.runtime.test_hostile import relist

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


def with_an_infinite_pixel(arrays: Arrays) -> None:
    arrays["decoder_image"][0, 0, 0, 0] = np.inf


def with_a_latent_that_is_no_number(arrays: Arrays) -> None:
    arrays["latents"][0, 0] = np.nan


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
        with_an_infinite_pixel,
        with_a_latent_that_is_no_number,
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
    monkeypatch.setattr(np, "load", lambda *arguments, **options: pytest.fail("read"))
    with pytest.raises(BundleError, match=r"seed should be int64 \(\)"):
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


def change_of_one(data: st.DataObject, arrays: Arrays) -> None:
    """Another type, shape, name or content of one array, which stays a well-formed one."""
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    match data.draw(st.integers(0, 6)):
        case 0:
            with np.errstate(all="ignore"):
                arrays[name] = array.astype(data.draw(st.sampled_from(["<f4", "<f8", "<i8", ">i8", "|u1", "<U3", "?"])))
        case 1:
            rows = data.draw(st.sampled_from([0, 1, 2, 7, 9, 10_000]))
            arrays[name] = np.resize(array, (rows, *array.shape[1:]))
        case 2:
            arrays[name] = array.reshape(data.draw(st.sampled_from([(-1,), (1, -1), (-1, 1), (*array.shape, 1)])))
        case 3:
            arrays[data.draw(st.sampled_from([*arrays, "x", "../x", "\x1b[31m"]))] = arrays.pop(name)
        case 4:
            extreme = data.draw(st.sampled_from([0, 1, 255, -1, 2**62, 1e38, np.nan, np.inf, -np.inf]))
            with np.errstate(all="ignore"):
                arrays[name] = np.full(array.shape, extreme).astype(array.dtype)
        case 5:
            arrays[name] = np.asfortranarray(array)
        case _:
            arrays[name] = array[..., ::-1] if array.ndim else array


@pytest.mark.parametrize("kind", ["bundle", "mixture_bundle"])
@fuzz_a_little
@given(data=st.data())
def test_golden_values_that_were_changed_with_care_pass_or_fail_and_nothing_else(
    request: pytest.FixtureRequest, kind: str, data: st.DataObject
) -> None:
    bundle: Path = request.getfixturevalue(kind)
    original, manifest = (bundle / "golden.npz").read_bytes(), (bundle / "manifest.json").read_bytes()
    with np.load(io.BytesIO(original)) as loaded:
        arrays = dict(loaded)
    for _ in range(data.draw(st.integers(1, 3))):
        change_of_one(data, arrays)
    buffer = io.BytesIO()
    data.draw(st.sampled_from([np.savez, np.savez_compressed]))(buffer, **arrays)
    try:
        relist(bundle, "golden.npz", buffer.getvalue())
        with contained(bundle):
            report = verify_bundle(bundle)
        assert all(check.passed or check.name.startswith("golden") for check in report.checks)
        assert all(check.detail.isprintable() for check in report.checks)
    finally:
        (bundle / "golden.npz").write_bytes(original)
        (bundle / "manifest.json").write_bytes(manifest)
