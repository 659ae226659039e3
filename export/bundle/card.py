"""The model card: `README.md` of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export.bundle.certificate import as_markdown, table
from export.checks.cost import BATCHES
from export.checks.parity import ParityMeasurement
from runtime.manifest import Executorch, Graph, Metadata, OnnxVersions, Port
from runtime.prior import Prior

CARD_NAME = "README.md"
PICTURE_NAME = "samples.png"
_PICTURE_NOTE = "64 samples of seed 0, indices 0 to 63."
_PROMISE = (
    "The same seed and index give bit-identical latents in every engine and language, and the same image to within one "
    "grey level."
)
_PARITY = (
    "Largest error w.r.t. the model in float64, over all inputs and batch sizes {batches}: relative error for "
    "floats, grey levels for pixels. `parity.json` has every measurement with its tolerance. `vae-verify .` checks the "
    "files and the golden values again, on the machine where it runs."
)
C_NOTE = (
    "`generator.h` and `generator.c` are the whole generator in C99, with no library, no heap and no global state: "
    "`cc -O2 -c generator.c`, then `vae_sample(seed, index, -1, 1.0f, pixels)`. Images are the same to the bit with "
    "every compiler and processor that has IEEE float32, unless `-ffast-math` is given, which the file refuses."
)
_EXECUTORCH_NOTE = (
    "`*.pte` are programs for ExecuTorch {version} or newer, lowered for {backend}. A call takes at most "
    "{largest_batch} rows."
)
_LICENCE = (
    "Written by vae-toolchain (MIT licence). The licence of the weights is up to those who trained them, within the "
    "terms of the training data. `manifest.json` has the sha256 of every file and the full provenance."
)

_PYTHON = """```python
from runtime import Sampler                         # pip install vae-toolchain: no PyTorch

images = Sampler(".").sample(64, seed=7)            # uint8 (64, {height}, {width}, {channels})
```"""
_JAVASCRIPT = """```javascript
const session = await ort.InferenceSession.create("sampler.onnx");   // onnxruntime-web or onnxruntime-node
const index = new ort.Tensor("int64", BigInt64Array.from({{length: 64}}, (_, i) => BigInt(i)), [64]);
const {{image}} = await session.run({{seed: new ort.Tensor("int64", [7n], []), index, \
temperature: new ort.Tensor("float32", [1], []){js_label}}});
```"""
_CPP = """```cpp
auto sampler = torch::jit::load("sampler.pt");                       // libtorch
auto inputs = std::vector<c10::IValue>{{torch::tensor(int64_t{{7}}), torch::arange(64), \
torch::tensor(1.0f){cpp_label}}};
auto image = sampler.forward(inputs).toTensor();                     // uint8 (64, {height}, {width}, {channels})
```"""


def model_card(
    metadata: Metadata,
    graphs: Mapping[str, Graph],
    onnx_versions: OnnxVersions | None,
    measurements: Sequence[ParityMeasurement],
    notes: Sequence[str],
    prior: Prior | None = None,
    *,
    batches: Sequence[int] = BATCHES,
    largest_batch: int | None = None,
) -> str:
    """The text of the card; the same text for the same bundle.

    notes: paragraphs on variants such as int8. prior: what is sampled from; None for N(0, I).
    batches: those of the parity check. largest_batch: as in the manifest.
    """
    channels, height, width = metadata.image_shape
    most = f"at most {largest_batch}" if largest_batch else "any value works"
    labelled = prior is not None and bool(prior.classes)
    sizes = {
        "channels": channels,
        "height": height,
        "width": width,
        "js_label": ', label: new ort.Tensor("int64", new BigInt64Array(64).fill(-1n), [64])' if labelled else "",
        "cpp_label": ", torch::full(64, -1, torch::kInt64)" if labelled else "",
    }
    formats = {file_format for graph in graphs.values() for file_format in graph.files}
    snippets = [
        ("Python", _PYTHON, "onnx"),
        ("JavaScript", _JAVASCRIPT, "onnx"),
        ("C++", _CPP, "torchscript"),
    ]
    parts = [
        f"# Variational autoencoder for {height}×{width} {'gray' if channels == 1 else 'colour'} images",
        f"![{_PICTURE_NOTE}]({PICTURE_NAME})",
        f"{_PICTURE_NOTE} {_PROMISE}",
        "## Model",
        *_provenance(metadata, prior),
        "## Usage",
        *(f"{name}:\n\n{text.format(**sizes)}" for name, text, needed in snippets if needed in formats),
        *(["`label` is the number of a class, its place in the list above, or -1 for any."] if labelled else []),
        "## Inputs and outputs",
        "\n".join(_ports_table(graphs)),
        f"`N` is the batch size; {most}. " + (_hosts(onnx_versions) if onnx_versions else ""),
        *notes,
        "## Parity",
        _PARITY.format(batches=f"{', '.join(map(str, batches[:-1]))} and {batches[-1]}"),
        "\n".join(as_markdown(table(measurements))),
        "## Licence and provenance",
        _LICENCE,
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def executorch_note(programs: Executorch) -> str:
    """The paragraph on the programs of ExecuTorch."""
    return _EXECUTORCH_NOTE.format(
        version=programs.version, backend=programs.backend, largest_batch=programs.largest_batch
    )


def _provenance(metadata: Metadata, prior: Prior | None) -> list[str]:
    provenance = metadata.provenance
    foreign = "value_range" in provenance
    lines = [
        f"- {'modules' if foreign else 'encoder layers, from pixels to latents'}: {provenance['architecture']}",
        f"- latent dimensions: {metadata.latent_dim}",
    ]
    data: dict[str, Any] = provenance.get("data", {})
    if data:
        digest = f", sha256 {data['sha256'][:16]}…" if "sha256" in data else ""
        lines.append(f"- training data: {data['name']}{digest}")
    training: dict[str, Any] = provenance.get("training", {})
    if "test_loss_nats" in training:
        lines.append(
            f"- test loss: {training['test_loss_nats']:.2f} nats per image after epoch {training['epoch']} "
            f"(reconstruction {training['test_reconstruction_nats']:.2f}, KL {training['test_kl_nats']:.2f}; "
            f"preset {training['preset']}, β {training['beta']:g}, seed {training['seed']})"
        )
    if "origin" in provenance:
        lines.append(f"- origin: {provenance['origin']}")
    if "pruned" in provenance:
        lines.append(f"- pruned: {provenance['pruned']}")
    if prior is not None:
        classes = f", for the classes {', '.join(prior.classes)}" if prior.classes else ""
        lines.append(f"- prior: a mixture of {prior.components} Gaussians fitted to the posterior{classes}")
    lines.append(f"- pair id: {metadata.pair_id}, the same in all files of this model")
    return ["\n".join(lines)]


def _ports_table(graphs: Mapping[str, Graph]) -> list[str]:
    lines = ["| graph | inputs | outputs | files |", "| --- | --- | --- | --- |"]
    for name, graph in graphs.items():
        sides = ["<br>".join(map(_port, ports)) for ports in (graph.inputs, graph.outputs)]
        files = "<br>".join(f"`{file}`" for file in graph.files.values())
        lines.append(f"| {name} | {sides[0]} | {sides[1]} | {files} |")
    return lines


def _port(port: Port) -> str:
    bounds = f" in [{port.range[0]:g}, {port.range[1]:g}]" if port.range and port.dtype != "int64" else ""
    return f"`{port.name}` {port.dtype} ({', '.join(map(str, port.shape))}){bounds}"


def _hosts(versions: OnnxVersions) -> str:
    oldest = f", and onnxruntime {versions.oldest_onnxruntime} or newer" if versions.oldest_onnxruntime else ""
    return (
        f"ONNX files need opset {versions.opset}, IR version {versions.ir_version}{oldest}. An engine that computes "
        "int64 in 32 bits, as OpenVINO does, draws black from `sampler.onnx`: give `decoder.onnx` latents there."
    )
