"""Damaged and hostile bundles, images and arrays end in a one-sentence error and never read outside the folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx import SparseTensorProto, TensorProto, helper
from PIL import Image

from runtime.bundle import Bundle
from runtime.cli import reconstruct, sample, verify
from runtime.errors import BundleError, InputError
from runtime.images.image_inputs import load_images
from runtime.manifest import Manifest
from runtime.onnx_guard.external_data import dense_weights, refuse_external_data
from runtime.reconstructor import Reconstructor
from runtime.sampler import Sampler
from runtime.session import GraphSession
from runtime.verify import verify_bundle
from tests.fuzzing import contained, damaged, fuzz, places, replaced

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["../../etc/passwd", "/etc/passwd", ".hidden", "decoder.onnx\0", "N", "\ud800", 10**30, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def relist(folder: Path, name: str, content: bytes) -> None:
    """Write `content` to a file of the bundle and set its size and hash in the manifest, as an attacker would."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": max(1, len(content)), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def files_around(folder: Path) -> set[Path]:
    return {path for path in folder.parent.rglob("*") if folder not in path.parents}


@fuzz
@given(data=st.data())
def test_a_manifest_with_a_replaced_value_opens_or_is_refused(bundle: Path, data: st.DataObject) -> None:
    original = (bundle / "manifest.json").read_text()
    root = json.loads(original)
    for _ in range(data.draw(st.integers(1, 3))):
        root = replaced(root, data.draw(st.sampled_from(places(root))), data.draw(json_values))
        if not isinstance(root, dict):
            break
    around = files_around(bundle)
    try:
        (bundle / "manifest.json").write_text(json.dumps(root))
        try:
            opened = Bundle.open(bundle)
            assert Manifest.from_json(opened.manifest.to_json().encode()) == opened.manifest
            Sampler(opened).sample(3)
        except BundleError:
            pass
    finally:
        (bundle / "manifest.json").write_text(original)
    assert files_around(bundle) == around


@fuzz
@given(data=st.data())
def test_a_damaged_manifest_opens_or_is_refused(bundle: Path, data: st.DataObject) -> None:
    with contextlib.suppress(BundleError):
        Manifest.from_json(damaged(data, (bundle / "manifest.json").read_bytes()))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("format_version",), 3, "format_version should be 1 or 2"),
        (("metadata", "noise_version"), 2, "noise_version is 2"),
        (("files", "decoder.onnx", "bytes"), -1, "bytes should be an integer"),
        (("files", "decoder.onnx", "bytes"), 2**62, "bytes should be an integer"),
        (("graphs", "decoder", "files", "onnx"), "/etc/passwd", "plain names"),
        (("graphs", "decoder", "files", "onnx"), "../decoder.onnx", "plain names"),
        (("graphs", "decoder", "files", "onnx"), "encoder.onnx", "should have the inputs"),
        (("metadata", "image_shape"), [1, 24, 6], r"graphs\.\w+\.\w+ should be"),
        (("metadata", "latent_dim"), 6, r"graphs\.\w+\.\w+ should be"),
        (("metadata", "pair_id"), "0123456789abcdef", "come from different exports"),
        (("metadata", "provenance"), {"weight": float("nan")}, "not a JSON number"),
    ],
)
def test_a_false_manifest_is_refused_and_the_field_named(
    bundle: Path, place: tuple[str, ...], value: object, message: str
) -> None:
    root = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(replaced(root, place, value)))
    with pytest.raises(BundleError, match=message):
        Sampler(bundle)


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe{}", b"[" * 100_000, b'{"a": 1e999}', b'{"a": "\\ud800"}', b"9" * 9999]
)
def test_invalid_json_is_refused(bundle: Path, text: bytes) -> None:
    (bundle / "manifest.json").write_bytes(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.open(bundle)


@pytest.mark.parametrize("depth", [65, 900, 5000])
@pytest.mark.parametrize(("start", "stop"), [('{"a":', "}"), ("[", "]")])
def test_a_provenance_that_is_nested_deep_is_refused(bundle: Path, depth: int, start: str, stop: str) -> None:
    root = json.loads((bundle / "manifest.json").read_text())
    text = json.dumps(replaced(root, ("metadata", "provenance"), {"a": "@"}))
    (bundle / "manifest.json").write_text(text.replace('"@"', start * depth + "1" + stop * depth))
    with pytest.raises(BundleError, match=r"nested more than 64 deep|not valid JSON"):
        Bundle.open(bundle)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize("name", ["x.png", "x.npy"])
def test_a_pipe_or_an_endless_device_among_images_does_not_hang(bundle: Path, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is no regular file"):
        load_images([tmp_path / name], (1, 12, 12))
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is no regular file"):
        load_images([tmp_path / name], (1, 12, 12))


def test_a_link_that_leads_out_of_the_folder_is_not_followed(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / "decoder.onnx", tmp_path / "decoder.onnx")
    (bundle / "decoder.onnx").symlink_to(tmp_path / "decoder.onnx")
    with pytest.raises(BundleError, match="leads out"):
        Sampler(bundle)


@pytest.mark.parametrize("name", ["manifest.json", "decoder.onnx"])
def test_a_link_that_leads_to_itself_is_no_file(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    (bundle / name).symlink_to(name)
    with pytest.raises(BundleError, match=f"{name}: Too many levels of symbolic links"):
        Sampler(bundle)
    result = CliRunner().invoke(sample, [str(bundle), "--output", str(bundle.parent / "x.png")])
    assert (result.exit_code, "please report" in result.output) == (1, False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize("name", ["manifest.json", "decoder.onnx"])
def test_a_pipe_in_place_of_a_file_does_not_hang(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with pytest.raises(BundleError, match="no regular file"):
        Sampler(bundle)


@pytest.mark.parametrize("change", ["truncate", "flip", "append", "swap"])
def test_a_changed_file_is_found_by_size_or_hash(bundle: Path, change: str) -> None:
    path = bundle / "decoder.onnx"
    content = path.read_bytes()
    flipped = bytes([content[100] ^ 1])
    path.write_bytes(
        {
            "truncate": content[:-1],
            "flip": content[:100] + flipped + content[101:],
            "append": content + b"\0",
            "swap": (bundle / "encoder.onnx").read_bytes(),
        }[change]
    )
    with pytest.raises(BundleError, match=r"decoder\.onnx: .*copy the bundle again"):
        Sampler(bundle)


@fuzz
@given(data=st.data())
def test_a_damaged_graph_with_the_right_hash_draws_or_is_refused(bundle: Path, data: st.DataObject) -> None:
    original, manifest = (bundle / "decoder.onnx").read_bytes(), (bundle / "manifest.json").read_bytes()
    try:
        relist(bundle, "decoder.onnx", damaged(data, original))
        with np.errstate(all="ignore"):
            assert Sampler(bundle).sample(2).shape == (2, 12, 12, 1)
    except BundleError:
        pass
    finally:
        (bundle / "decoder.onnx").write_bytes(original)
        (bundle / "manifest.json").write_bytes(manifest)


@pytest.mark.parametrize("text", [b"pair_id", b"image"])
def test_a_graph_with_invalid_utf8_is_refused_without_engine_output(
    bundle: Path, capfd: pytest.CaptureFixture[str], text: bytes
) -> None:
    """Invalid UTF-8 in the metadata and in the name of an output."""
    content = (bundle / "decoder.onnx").read_bytes()
    relist(bundle, "decoder.onnx", content.replace(text, b"\xff" * len(text)))
    with pytest.raises(BundleError, match=r"decoder\.onnx"):
        Sampler(bundle)
    assert capfd.readouterr() == ("", "")


@fuzz
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_protobuf_or_refused(content: bytes) -> None:
    try:
        refuse_external_data(content, Path("decoder.onnx"))
        dense_weights(content)
    except BundleError:
        pass


def external(tensor: TensorProto) -> TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret.bin"
    return tensor


def tensor(kind: int) -> TensorProto:
    return helper.make_tensor("tensor", kind, [0], [])


def secret() -> TensorProto:
    return external(tensor(TensorProto.FLOAT))


def sparse(values: TensorProto, indices: TensorProto) -> SparseTensorProto:
    found = SparseTensorProto(dims=[1])
    found.values.CopyFrom(values)
    found.indices.CopyFrom(indices)
    return found


def in_initializer(model: onnx.ModelProto) -> None:
    external(model.graph.initializer[0])


def in_attribute(model: onnx.ModelProto) -> None:
    tensor = external(helper.make_tensor("secret", TensorProto.FLOAT, [1], b"\0\0\0\0", raw=True))
    model.graph.node.append(helper.make_node("Constant", [], ["secret"], value=tensor))


def in_a_graph_within_a_graph(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [], initializer=[secret()])
    model.graph.node.append(helper.make_node("If", ["condition"], ["out"], then_branch=inner, else_branch=inner))


def in_a_list_of_tensors(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Own", [], ["y"], secrets=[secret()]))


def in_a_list_of_graphs(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [], initializer=[secret()])
    model.graph.node.append(helper.make_node("Own", [], ["y"], branches=[inner]))


def in_a_sparse_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["y"], sparse_value=sparse(secret(), tensor(7))))


def in_a_list_of_sparse_attributes(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Own", [], ["y"], secrets=[sparse(secret(), tensor(7))]))


def in_a_training_step(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "step", [], [], initializer=[secret()])
    model.training_info.add().algorithm.CopyFrom(graph)


def in_the_start_of_training(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "start", [], [], initializer=[secret()])
    model.training_info.add().initialization.CopyFrom(graph)


def in_a_default_of_a_function(model: onnx.ModelProto) -> None:
    function = helper.make_function("own", "f", [], [], [], [helper.make_opsetid("", 18)])
    function.attribute_proto.append(helper.make_attribute("secret", secret()))
    model.functions.append(function)


def in_a_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["y"], value=secret())
    model.functions.append(helper.make_function("own", "f", [], ["y"], [node], [helper.make_opsetid("", 18)]))


def in_a_sparse_initializer(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse(secret(), tensor(TensorProto.INT64)))


def in_the_indices_of_a_sparse_initializer(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse(tensor(TensorProto.FLOAT), secret()))


@pytest.mark.parametrize(
    "hide",
    [
        in_initializer,
        in_attribute,
        in_a_list_of_tensors,
        in_a_graph_within_a_graph,
        in_a_list_of_graphs,
        in_a_function,
        in_a_default_of_a_function,
        in_a_sparse_initializer,
        in_the_indices_of_a_sparse_initializer,
        in_a_sparse_attribute,
        in_a_list_of_sparse_attributes,
        in_a_training_step,
        in_the_start_of_training,
    ],
)
def test_external_data_is_refused_anywhere_in_a_graph(bundle: Path, hide: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load_from_string((bundle / "decoder.onnx").read_bytes())
    hide(model)
    relist(bundle, "decoder.onnx", model.SerializeToString())
    with pytest.raises(BundleError, match="data in another file"):
        GraphSession(Bundle.open(bundle), "decoder")


def test_the_weights_of_dense_layers_are_counted(bundle: Path) -> None:
    assert dense_weights((bundle / "decoder.onnx").read_bytes()) == 5 * 16 + 16 * 24 + 24 * 144


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def picture(file_format: str) -> bytes:
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (9, 11, 3), np.uint8)).save(buffer, file_format)
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
@fuzz
@given(data=st.data())
def test_a_damaged_image_is_read_or_refused(tmp_path: Path, file_format: str, data: st.DataObject) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(damaged(data, picture(file_format)))
    try:
        with contained(tmp_path):
            assert load_images([path], (1, 12, 12)).pixels.shape == (1, 12, 12, 1)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017 (it may also succeed)


@fuzz
@given(data=st.data())
def test_a_png_of_any_chunks_with_right_sums_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    side = st.sampled_from([0, 1, 9, 255, 8192, 2**20, 2**31 - 1, 2**32 - 1])
    depth, colour = data.draw(st.sampled_from([1, 2, 4, 8, 16, 3])), data.draw(st.integers(0, 6))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", data.draw(side), data.draw(side), depth, colour, 0, 0, 0))]
    for _ in range(data.draw(st.integers(0, 4))):
        kind = data.draw(
            st.sampled_from([b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"IHDR"])
        )
        inside = data.draw(st.binary(max_size=40)) + data.draw(st.sampled_from([b"", zlib.compress(bytes(10**7))]))
        chunks.append((kind, inside))
    chunks.append((b"IDAT", zlib.compress(bytes(data.draw(st.sampled_from([0, 1, 1000, 10**6, 2**26]))))))
    content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in [*chunks, (b"IEND", b"")])
    (tmp_path / "image.png").write_bytes(content)
    with contained(tmp_path), contextlib.suppress(InputError):
        load_images([tmp_path / "image.png"], (3, 12, 12))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from(
        [(12, 12), (12, 12, 1), (1, 12, 12, 1), (3, 12, 12, 3), (0, 12, 12, 1), (2, 144), (2, 5)]
    ).flatmap(
        lambda shape: st.sampled_from(["u1", "i8", "f4", "f8", "?", "c8", "U2", "O"]).map(
            lambda kind: np.zeros(shape, kind)
        )
    )
    | st.sampled_from(["L", "RGB", "RGBA", "P", "1", "I", "F", "LA", "CMYK", "HSV", "LAB"]).map(
        lambda mode: Image.new(mode, (9, 7))
    )
    | st.just(Image.new("L", (0, 3))),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)


@fuzz
@given(images=anything, more=anything)
def test_anything_in_place_of_images_is_reconstructed_or_refused(bundle: Path, images: Any, more: Any) -> None:
    model = Reconstructor(bundle, threads=1)
    calls: list[Callable[[], object]] = [
        lambda: model.reconstruct(images),
        lambda: model.encode(images),
        lambda: model.decode(images),
        lambda: model.interpolate(images, more, 3),
        lambda: model.traverse(images, more, [0, 1]),
        lambda: model.variations(images, 2, spread=more, seed=more),
    ]
    for call in calls:
        with contained(bundle), np.errstate(all="ignore"), warnings.catch_warnings(), contextlib.suppress(InputError):
            warnings.simplefilter("ignore")  # of NumPy, about complex numbers
            call()


@fuzz
@given(data=st.data())
def test_a_damaged_array_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 12, 12, 1), np.uint8))
    path = tmp_path / "images.npy"
    path.write_bytes(damaged(data, buffer.getvalue()))
    try:
        with contained(tmp_path):
            assert load_images([path], (1, 12, 12)).pixels.shape[1:] == (12, 12, 1)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017 (it may also succeed)


def test_an_array_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    with path.open("wb") as file:
        shape = (2**40, 12, 12, 1)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with pytest.raises(InputError, match=r"cannot be read as an array (?!.*allocate)"):
        load_images([path], (1, 12, 12))


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as an array"):
        load_images([tmp_path / "images.npy"], (1, 12, 12))


@pytest.mark.parametrize("side", [9_000, 10_000, 50_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(InputError, match=r"bomb\.png: .*pixels"):  # not an error about a truncated file
        load_images([tmp_path / "bomb.png"], (1, 12, 12))


def arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content)) as archive:
        return dict(archive)


@fuzz
@given(data=st.data())
def test_damaged_golden_values_fail_the_check_and_nothing_else(bundle: Path, data: st.DataObject) -> None:
    original, manifest = (bundle / "golden.npz").read_bytes(), (bundle / "manifest.json").read_bytes()
    try:
        content = damaged(data, original)
        relist(bundle, "golden.npz", content)
        report = verify_bundle(bundle)
        assert all(check.passed or check.name.startswith("golden") for check in report.checks)
        if report.passed:
            given, kept = arrays(original), arrays(content)
            assert all(np.array_equal(kept[name], given[name]) for name in given)
    finally:
        (bundle / "golden.npz").write_bytes(original)
        (bundle / "manifest.json").write_bytes(manifest)


@pytest.mark.parametrize("command", [sample, verify, reconstruct])
def test_a_damaged_bundle_gives_one_sentence_and_no_output(command: Any, bundle: Path, tmp_path: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"{")
    Image.new("L", (12, 12)).save(tmp_path / "a.png")
    arguments = [str(tmp_path / "a.png"), "--bundle", str(bundle)] if command is reconstruct else [str(bundle)]
    if command is not verify:
        arguments += ["--output", str(tmp_path / "out.png")]
    before = files_around(bundle)
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1
    assert files_around(bundle) == before
