"""A bundle has self-contained files that describe themselves, and is published completely or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from export.bundle.arguments import check_formats, open_source
from export.bundle.build import export_bundle
from export.errors import ExportError
from export.graphs import decoder_of
from runtime.manifest import METADATA_KEY
from trainer.checkpoint import Checkpoint


def test_the_manifest_holds_size_and_hash_of_every_other_file(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert set(manifest["files"]) == {path.name for path in bundle.iterdir()} - {"manifest.json"}
    for name, record in manifest["files"].items():
        content = (bundle / name).read_bytes()
        assert record == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_an_onnx_file_is_one_file_of_the_promised_versions(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    for name in ("decoder.onnx", "encoder.onnx"):
        model = onnx.load_from_string((bundle / name).read_bytes())
        assert not any(tensor.external_data for tensor in model.graph.initializer)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", manifest["onnx"]["opset"])]
        assert model.ir_version == manifest["onnx"]["ir_version"] == 8
        for port in (*model.graph.input, *model.graph.output):
            assert port.type.tensor_type.shape.dim[0].dim_param == "N"


def test_every_graph_file_has_the_metadata_of_the_manifest(bundle: Path) -> None:
    metadata = json.loads((bundle / "manifest.json").read_text())["metadata"]
    for graph in ("decoder", "encoder"):
        model = onnx.load_from_string((bundle / f"{graph}.onnx").read_bytes())
        assert json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY]) == metadata
        extra = {METADATA_KEY: ""}
        with pytest.warns((FutureWarning, DeprecationWarning), match=r"torch\.jit\.load"):
            torch.jit.load(io.BytesIO((bundle / f"{graph}.pt").read_bytes()), _extra_files=extra)
        assert json.loads(extra[METADATA_KEY]) == metadata


def test_no_file_names_this_machine(bundle: Path) -> None:
    traces = [str(Path(__file__).parents[3]), str(Path(torch.__file__).parents[1])]
    if len(platform.node()) > 4:  # a shorter name may occur by chance
        traces.append(platform.node())
    for path in bundle.iterdir():
        content = path.read_bytes()
        for trace in traces:
            assert trace.encode() not in content, f"{path.name} holds {trace}"


def test_another_export_takes_the_place_of_the_first(
    bundle: Path, random_checkpoint: Callable[..., Checkpoint]
) -> None:
    export_bundle(random_checkpoint(), bundle, formats=["onnx"])
    assert not (bundle / "decoder.pt").exists()
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_a_folder_with_other_content_is_not_changed(
    tmp_path: Path, random_checkpoint: Callable[..., Checkpoint]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="holds files that are not part of a bundle"):
        export_bundle(random_checkpoint(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, random_checkpoint: Callable[..., Checkpoint]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="cannot write"):
        export_bundle(random_checkpoint(), tmp_path / "file" / "bundle")
    with pytest.raises(ExportError, match="is a file"):
        export_bundle(random_checkpoint(), tmp_path / "file")


def test_a_path_is_as_good_as_the_checkpoint_in_it_and_a_name_as_a_list_of_one(
    tmp_path: Path, random_checkpoint: Callable[..., Checkpoint]
) -> None:
    checkpoint = random_checkpoint()
    checkpoint.save(tmp_path / "best.pt")
    opened, given = open_source(str(tmp_path / "best.pt")), open_source(checkpoint)
    z = torch.ones(2, given.model.config.latent_dim)
    assert torch.equal(decoder_of(opened.model)(z), decoder_of(given.model)(z))
    assert opened.provenance == given.provenance
    assert check_formats("onnx") == ("onnx",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ["onnx", "onx"]}, "formats should be among onnx, torchscript, pt2, c, pte, but 'onx' is not"),
        ({"variants": ["int8"]}, "variants should be among onnx-int8, onnx-fp16, c-int8, c-fp16, but 'int8' is not"),
        ({"formats": "c", "variants": "onnx-int8"}, "onnx-int8 is a variant of the format onnx; add that format"),
        ({"opset": 17}, "opset should be from 18 to 25, but is 17"),
        ({"source": 3}, "source should be a checkpoint, its path or a Source, but is a int"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_nothing_is_written(
    arguments: dict[str, Any], message: str, tmp_path: Path, random_checkpoint: Callable[..., Checkpoint]
) -> None:
    with pytest.raises(ExportError, match=message):
        export_bundle(**{"source": random_checkpoint(), "output": tmp_path / "b", **arguments})
    assert not list(tmp_path.iterdir())
