"""Opening a bundle checks that its files are complete and belong to one model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from export.bundle.build import export_bundle
from runtime import Bundle, BundleError, Reconstructor, Sampler
from trainer.checkpoint import Checkpoint


def test_a_valid_bundle_returns_its_files(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    for name, record in opened.manifest.files.items():
        assert len(opened.read(name)) == record.bytes


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="make a bundle with vae-export"):
        Sampler(tmp_path / "nowhere")


def test_a_truncated_file_is_refused(bundle: Path) -> None:
    path = bundle / "decoder.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"decoder\.onnx: should be [\d,]+ bytes but is"):
        Sampler(bundle)


def test_a_longer_file_is_refused(bundle: Path) -> None:
    with (bundle / "decoder.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=r"decoder\.onnx: should be [\d,]+ bytes but is"):
        Sampler(bundle)


def test_one_flipped_bit_is_refused(bundle: Path) -> None:
    path = bundle / "decoder.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"decoder\.onnx: its sha256 differs"):
        Sampler(bundle)


def test_a_missing_file_is_refused(bundle: Path) -> None:
    (bundle / "encoder.onnx").unlink()
    Sampler(bundle)  # needs only the decoder
    with pytest.raises(BundleError, match=r"encoder\.onnx: No such file"):
        Reconstructor(bundle)


def test_a_file_outside_the_folder_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / "decoder.onnx", tmp_path / "decoder.onnx")
    (bundle / "decoder.onnx").symlink_to(tmp_path / "decoder.onnx")
    with pytest.raises(BundleError, match="leads out of the bundle's folder"):
        Sampler(bundle)


def test_another_noise_version_is_refused(bundle: Path) -> None:
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    content["metadata"]["noise_version"] = 2
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="noise_version is 2, but this runtime draws version 1"):
        Sampler(bundle)


def test_a_huge_manifest_is_not_read(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b" " * 2_000_000)
    with pytest.raises(BundleError, match="larger than"):
        Bundle.open(bundle)


def adopt(bundle: Path, name: str, source: Path) -> None:
    """Copy a file from another bundle and set its size and hash in the manifest."""
    shutil.copy(source / name, bundle / name)
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    content["files"][name] = json.loads((source / "manifest.json").read_text())["files"][name]
    path.write_text(json.dumps(content))


def test_an_encoder_of_another_model_is_refused(
    bundle: Path, tmp_path: Path, random_checkpoint: Callable[..., Checkpoint]
) -> None:
    export_bundle(random_checkpoint(image_shape=(1, 12, 12), latent_dim=5), tmp_path / "other", formats=["onnx"])
    adopt(bundle, "encoder.onnx", tmp_path / "other")
    with pytest.raises(BundleError, match="the files come from different exports"):
        Reconstructor(bundle)


def test_a_manifest_that_describes_another_shape_is_refused(bundle: Path) -> None:
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    content["graphs"]["decoder"]["inputs"][0]["shape"] = ["N", 6]
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"decoder.inputs should be 'z' float32 \(N, 5\) but is 'z' float32 \(N, 6\)"):
        Sampler(bundle)


def test_a_manifest_that_describes_another_name_is_refused(bundle: Path) -> None:
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    content["graphs"]["encoder"]["outputs"][1]["name"] = "variance"
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"encoder.outputs should be .*'log_var' .* but is .*'variance'"):
        Reconstructor(bundle)


def test_a_file_that_is_not_a_graph_is_refused(bundle: Path) -> None:
    import hashlib

    garbage = b"not a graph"
    (bundle / "decoder.onnx").write_bytes(garbage)
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    content["files"]["decoder.onnx"] = {"bytes": len(garbage), "sha256": hashlib.sha256(garbage).hexdigest()}
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="is no ONNX file"):
        Sampler(bundle)
