"""The manifest: JSON round trip, and errors that name the invalid field."""

import json
from typing import Any

import pytest

from runtime.errors import BundleError
from runtime.manifest import FileRecord, Graph, Manifest, Metadata, OnnxVersions, Port

MANIFEST = Manifest(
    metadata=Metadata("0123456789abcdef", 1, 3, (1, 8, 6), {"data": {"name": "é"}}),
    onnx=OnnxVersions(18, 8),
    graphs={
        "decoder": Graph(
            inputs=(Port("z", "float32", ("N", 3), None),),
            outputs=(Port("image", "float32", ("N", 1, 8, 6), (0, 1)),),
            files={"onnx": "decoder.onnx"},
        )
    },
    files={"decoder.onnx": FileRecord(10, "a" * 64)},
)


def test_a_manifest_is_unchanged_by_a_json_round_trip() -> None:
    assert Manifest.from_json(MANIFEST.to_json().encode()) == MANIFEST


def test_equal_manifests_give_the_same_json() -> None:
    assert Manifest.from_json(MANIFEST.to_json().encode()).to_json() == MANIFEST.to_json()


def put(content: Any, path: str, value: object) -> None:
    """Set the value at a dotted path; digits index arrays."""
    *parents, last = path.split(".")
    for key in parents:
        content = content[int(key)] if key.isdigit() else content[key]
    content[int(last) if last.isdigit() else last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format_version", 3, "format_version should be 1 or 2 but is 3"),
        ("format_version", None, "format_version should be 1 or 2 but is None"),
        ("metadata", [], "metadata should be an object but is an array"),
        ("metadata.latent_dim", 0, "metadata.latent_dim should be an integer from 1"),
        ("metadata.latent_dim", True, "metadata.latent_dim should be an integer"),
        ("metadata.latent_dim", 3.0, "metadata.latent_dim should be an integer"),
        ("metadata.image_shape", [1, 8], "should be .channels, height, width."),
        ("metadata.image_shape", [1, 8, -6], "metadata.image_shape should be an integer from 1"),
        ("metadata.pair_id", 7, "metadata.pair_id should hold plain names"),
        ("onnx.opset", "18", "onnx.opset should be an integer"),
        ("graphs.decoder", 1, "graphs.decoder should be an object but is 1"),
        ("graphs.decoder.inputs", {}, "graphs.decoder.inputs should be an array"),
        ("graphs.decoder.inputs.0", "z", r"graphs.decoder.inputs\[0\] should be an object"),
        ("graphs.decoder.inputs.0.dtype", "float16", "dtype should be one of float32, int64, uint8"),
        ("graphs.decoder.inputs.0.shape", ["M", 3], "shape should be an integer"),
        ("graphs.decoder.outputs.0.range", [0], "range should be .lowest, highest. or null"),
        ("graphs.decoder.files", {"exe": "decoder.onnx"}, "unknown format 'exe'"),
        ("graphs.decoder.files.onnx", "encoder.onnx", "names encoder.onnx, which files leaves out"),
        ("graphs.decoder.files.onnx", "../decoder.onnx", "should hold plain names"),
        ("graphs.decoder.files.onnx", "/etc/passwd", "should hold plain names"),
        ("graphs.decoder.files.onnx", ".hidden", "should hold plain names"),
        ("files.decoder.onnx", None, "files.decoder.onnx should be an object"),
    ],
)
def test_an_invalid_value_is_refused_and_its_field_named(path: str, value: object, message: str) -> None:
    content = json.loads(MANIFEST.to_json())
    if path == "files.decoder.onnx":  # the one key with a dot in it
        content["files"]["decoder.onnx"] = value
    else:
        put(content, path, value)
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(json.dumps(content).encode())


@pytest.mark.parametrize(("field", "value"), [("bytes", -1), ("bytes", 2**40), ("bytes", 0), ("sha256", "A" * 64)])
def test_an_impossible_file_record_is_refused(field: str, value: object) -> None:
    content = json.loads(MANIFEST.to_json())
    content["files"]["decoder.onnx"][field] = value
    with pytest.raises(BundleError, match=f"files.decoder.onnx.{field} should be"):
        Manifest.from_json(json.dumps(content).encode())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"format_version": NaN}', b"[" * 100_000], ids=repr)
def test_anything_but_a_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json: (not valid JSON|should hold an object)"):
        Manifest.from_json(text)


def test_every_field_is_needed() -> None:
    for key in ("metadata", "graphs", "files"):
        content = json.loads(MANIFEST.to_json())
        del content[key]
        with pytest.raises(BundleError, match=f"{key} should be an object but is missing"):
            Manifest.from_json(json.dumps(content).encode())
