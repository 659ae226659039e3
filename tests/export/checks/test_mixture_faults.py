"""The parity check refuses a sampler whose mixture is wrong in any single entry."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from export.checks.parity import check_graph
from export.checks.reference import Reference
from export.errors import ValuesError
from export.formats.to_onnx import onnx_bytes, to_onnx
from export.formats.to_pt2 import to_pt2
from export.formats.to_torchscript import to_torchscript
from export.mixture import LabelledMixtureSampler
from export.specs import GraphSpec, graphs_of
from runtime.bundle import Bundle
from runtime.manifest import MANIFEST_NAME, Metadata
from runtime.prior import FULL, Prior
from trainer.checkpoint import Checkpoint

EXPORTERS: dict[str, Callable[[GraphSpec, Metadata], bytes]] = {
    "onnx": lambda spec, metadata: onnx_bytes(to_onnx(spec, metadata)),
    "torchscript": to_torchscript,
    "pt2": to_pt2,
}


def sampler_of(checkpoint: Checkpoint) -> GraphSpec:
    return next(spec for spec in graphs_of(checkpoint.build_model(), checkpoint.prior) if spec.name == "sampler")


def a_shared_slot(prior: Prior) -> int:
    """Place of a slot in the tables of class 2 that really takes its alias as well as itself."""
    shared = (prior.thresholds[3] > 0) & (prior.thresholds[3] < FULL)
    return int(3 * prior.slots + np.flatnonzero(shared)[0])


def swapped_alias(module: LabelledMixtureSampler, prior: Prior) -> LabelledMixtureSampler:
    place = a_shared_slot(prior)
    others = [int(k) for k in np.flatnonzero(prior.component_class == 2) if k != int(module.aliases[place])]
    module.aliases[place] = others[0]
    return module


def threshold_too_high(module: LabelledMixtureSampler, prior: Prior) -> LabelledMixtureSampler:
    module.thresholds[a_shared_slot(prior)] += 1
    return module


def threshold_too_low(module: LabelledMixtureSampler, prior: Prior) -> LabelledMixtureSampler:
    module.thresholds[a_shared_slot(prior)] -= 1
    return module


def swapped_shift_and_scale(module: LabelledMixtureSampler, prior: Prior) -> LabelledMixtureSampler:
    module.shift, module.scale = module.scale, module.shift
    return module


def one_wrong_scale(module: LabelledMixtureSampler, prior: Prior) -> LabelledMixtureSampler:
    """One entry by one unit in the last place."""
    module.scale[-1, -1] = torch.nextafter(module.scale[-1, -1], torch.tensor(torch.inf))
    return module


class LabelOffByOne(LabelledMixtureSampler):
    def component(self, word: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        slot = word >> self.slot_shift
        return self.choose(word, slot, label.clamp_min(0) * self.slots + slot)


FAULTS: dict[str, tuple[Callable[..., LabelledMixtureSampler], str]] = {
    "a swapped alias": (swapped_alias, "'component'|'latents'"),
    "a threshold one too high": (threshold_too_high, "'component'"),
    "a threshold one too low": (threshold_too_low, "'component'"),
    "shift and scale swapped": (swapped_shift_and_scale, "'latents'"),
    "one scale off by one bit": (one_wrong_scale, "'latents'"),
    "a label off by one": (LabelOffByOne, "'component'|'latents'"),
}


def check_with(module: torch.nn.Module, file_format: str, checkpoint: Checkpoint, folder: Path) -> None:
    """Export `module` in place of the sampler's file in one format, and run the parity check."""
    spec = sampler_of(checkpoint)
    faulty = GraphSpec("sampler", module.eval(), spec.inputs, spec.outputs, spec.methods)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    name = manifest["graphs"]["sampler"]["files"][file_format]
    content = EXPORTERS[file_format](faulty, Bundle.open(folder).manifest.metadata)
    (folder / name).write_bytes(content)
    manifest["graphs"]["sampler"]["files"] = {file_format: name}
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    reference = Reference(checkpoint.build_model(), checkpoint.prior)
    check_graph(spec, reference, Bundle.open(folder), checkpoint.reference_images.numpy())


@pytest.mark.parametrize("file_format", EXPORTERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_injected_fault_is_refused(
    fault: str, file_format: str, mixture_checkpoint: Checkpoint, mixture_bundle: Path
) -> None:
    make, words = FAULTS[fault]
    prior = mixture_checkpoint.prior
    assert prior is not None
    if isinstance(make, type):
        module = make(mixture_checkpoint.build_model(), prior)
    else:
        module = make(LabelledMixtureSampler(mixture_checkpoint.build_model(), prior), prior)
    with pytest.raises(ValuesError, match=f"output ({words}) "):
        check_with(module, file_format, mixture_checkpoint, mixture_bundle)


@pytest.mark.parametrize("file_format", EXPORTERS)
def test_the_right_sampler_passes(file_format: str, mixture_checkpoint: Checkpoint, mixture_bundle: Path) -> None:
    assert mixture_checkpoint.prior is not None
    module = LabelledMixtureSampler(mixture_checkpoint.build_model(), mixture_checkpoint.prior)
    check_with(module, file_format, mixture_checkpoint, mixture_bundle)


def test_a_mixture_without_classes_is_exported_without_a_label(mixture_checkpoint: Checkpoint, tmp_path: Path) -> None:
    from dataclasses import replace

    from export.bundle.build import export_bundle

    prior = Prior.of_mixture([1, 2, 3], np.zeros((3, 5)), np.ones((3, 5)))
    measured = export_bundle(replace(mixture_checkpoint, prior=prior), tmp_path / "bundle")
    assert {entry.engine for entry in measured if entry.output == "component"} >= {"TorchScript", "onnxruntime"}
    inputs = Bundle.open(tmp_path / "bundle").manifest.graphs["sampler"].inputs
    assert [port.name for port in inputs] == ["seed", "index", "temperature"]


def test_a_model_without_a_mixture_is_exported_in_format_1(bundle: Path, mixture_bundle: Path) -> None:
    assert json.loads((bundle / MANIFEST_NAME).read_text())["format_version"] == 1
    assert json.loads((mixture_bundle / MANIFEST_NAME).read_text())["format_version"] == 2
    assert not (bundle / "prior.npz").exists()


def test_picture_of_the_bundle_is_what_vae_sample_draws(mixture_bundle: Path) -> None:
    from PIL import Image

    from runtime.images.sheet import grid
    from runtime.sampler import Sampler

    expected = grid(Sampler(mixture_bundle).sample(64), 8, scale=3)[..., 0].astype(int)
    assert np.abs(np.asarray(Image.open(mixture_bundle / "samples.png"), int) - expected).max() <= 1
