"""Smaller variants: what they preserve, their reported loss, and when they are refused."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from export.checks import variants
from export.checks.variants import make_variant, measure_variant, onnx_runnable
from export.errors import ExportError, ValuesError
from runtime.manifest import ONNX_FP16, ONNX_INT8
from runtime.noise import standard_normal
from trainer.checkpoint import load_checkpoint
from trainer.training.run_folder import Run

GRAPHS = ("decoder", "encoder", "sampler", "reconstructor")
LATENT_DIM = 5
Pixels = np.ndarray


@pytest.fixture(scope="module")
def images(tiny_run: Run) -> Pixels:
    return load_checkpoint(tiny_run.best).reference_images.numpy()


@pytest.fixture
def files(bundle: Path) -> dict[str, bytes]:
    return {graph: (bundle / f"{graph}.onnx").read_bytes() for graph in GRAPHS}


def decode(content: bytes, z: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"z": z})[0]


def total(files: Mapping[str, bytes]) -> int:
    return sum(len(content) for content in files.values())


def test_int8_keeps_the_latents_and_does_not_depend_on_the_batch(files: Mapping[str, bytes], images: Pixels) -> None:
    small = make_variant(ONNX_INT8, files, images, LATENT_DIM)
    report = measure_variant(
        ONNX_INT8, onnx_runnable(files), onnx_runnable(small), images, LATENT_DIM, likelihood="bernoulli"
    )
    assert (report.bytes, report.float_bytes) == (total(small), total(files))
    z = standard_normal(variants._TEST_SEED, np.arange(1000), LATENT_DIM)
    error = decode(files["decoder"], z).astype(np.float64) - decode(small["decoder"], z)
    assert report.psnr_db == pytest.approx(20 * np.log10(1 / np.sqrt(np.mean(error**2))), abs=0.01)
    z = standard_normal(9, np.arange(50), LATENT_DIM)
    together = decode(small["decoder"], z)
    alone = np.concatenate([decode(small["decoder"], z[i : i + 1]) for i in range(len(z))])
    assert (together == alone).all()


def test_int8_rounds_weighted_nodes_and_nothing_else(files: Mapping[str, bytes], images: Pixels) -> None:
    model = onnx.load_from_string(make_variant(ONNX_INT8, files, images, LATENT_DIM)["sampler"])
    tables = {tensor.name: tensor for tensor in model.graph.initializer}
    assert any(tensor.dims == [65_536] and tensor.data_type == onnx.TensorProto.FLOAT for tensor in tables.values())
    sigmoid = next(node for node in model.graph.node if node.op_type == "Sigmoid")
    producers = {node.output[0]: node for node in model.graph.node}
    assert producers[producers[sigmoid.input[0]].input[0]].op_type == "Gemm"  # logits are not quantised


def test_int8_has_a_scale_for_each_channel(files: Mapping[str, bytes], images: Pixels) -> None:
    model = onnx.load_from_string(make_variant(ONNX_INT8, files, images, LATENT_DIM)["decoder"])
    int8 = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    sizes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    scales = [
        sizes[node.input[1]] for node in model.graph.node if node.input[0] in int8 and len(sizes[node.input[0]]) == 2
    ]
    assert [list(scale) for scale in scales] == [[16], [24], [144]]


def test_fp16_weights_halve_the_weights_and_compute_in_float32(files: Mapping[str, bytes], images: Pixels) -> None:
    small = make_variant(ONNX_FP16, files, images, LATENT_DIM)
    weights = 5 * 16 + 16 + 16 * 24 + 24 + 24 * 144 + 144
    assert len(files["decoder"]) - len(small["decoder"]) > 0.9 * 2 * weights  # the added Cast nodes take some of it
    z = standard_normal(9, np.arange(50), LATENT_DIM)
    model = onnx.load_from_string(files["decoder"])
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            rounded = values.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    assert (decode(small["decoder"], z) == decode(model.SerializeToString(), z)).all()
    assert (
        measure_variant(
            ONNX_FP16, onnx_runnable(files), onnx_runnable(small), images, LATENT_DIM, likelihood="bernoulli"
        ).psnr_db
        > 60
    )


def test_a_variant_that_loses_too_much_is_refused_unless_forced(
    files: Mapping[str, bytes], images: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = make_variant(ONNX_INT8, files, images, LATENT_DIM)
    monkeypatch.setattr(variants, "SMALLEST_PSNR_DB", 200.0)
    with pytest.raises(ExportError, match=r"PSNR against float32 is .* dB, below the 200 dB"):
        measure_variant(
            ONNX_INT8, onnx_runnable(files), onnx_runnable(small), images, LATENT_DIM, likelihood="bernoulli"
        )
    measure_variant(
        ONNX_INT8, onnx_runnable(files), onnx_runnable(small), images, LATENT_DIM, likelihood="bernoulli", force=True
    )


def test_a_variant_with_other_latents_is_refused(files: Mapping[str, bytes], images: Pixels) -> None:
    model = onnx.load_from_string(files["sampler"])
    table = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [65_536])
    rounded = onnx.numpy_helper.to_array(table).astype(np.float16).astype(np.float32)
    table.CopyFrom(onnx.numpy_helper.from_array(rounded, table.name))
    with pytest.raises(ValuesError, match="latents differ from those of float32"):
        measure_variant(
            ONNX_FP16,
            onnx_runnable(files),
            onnx_runnable({**files, "sampler": model.SerializeToString()}),
            images,
            LATENT_DIM,
            likelihood="bernoulli",
        )


def test_a_variant_whose_images_depend_on_their_batch_is_refused(files: Mapping[str, bytes], images: Pixels) -> None:
    model = onnx.load_from_string(files["decoder"])
    for node in model.graph.node:
        node.input[:] = ["moved" if name == "z" else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("ReduceMax", ["z"], ["largest"]))
    model.graph.node.insert(1, onnx.helper.make_node("Add", ["z", "largest"], ["moved"]))
    with pytest.raises(ValuesError, match=r"an image changes by .* with its batch"):
        measure_variant(
            ONNX_INT8,
            onnx_runnable(files),
            onnx_runnable({**files, "decoder": model.SerializeToString()}),
            images,
            LATENT_DIM,
            likelihood="bernoulli",
        )


def test_each_speed_is_that_of_its_own_file(
    files: Mapping[str, bytes], images: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test recognises the timed functions by the images they return."""
    small = make_variant(ONNX_INT8, files, images, LATENT_DIM)
    z = standard_normal(variants._TEST_SEED, np.arange(1000), LATENT_DIM)
    image = decode(files["decoder"], z)

    def seconds(functions: Mapping[str, Callable[[], list[np.ndarray]]]) -> dict[str, float]:
        return {
            name: 0.5 if np.allclose(function()[0], image, rtol=0, atol=1e-6) else 0.25
            for name, function in functions.items()
        }

    monkeypatch.setattr(variants, "_seconds", seconds)
    report = measure_variant(
        ONNX_INT8, onnx_runnable(files), onnx_runnable(small), images, LATENT_DIM, likelihood="bernoulli"
    )
    assert (report.images_per_s, report.float_images_per_s) == (4000, 2000)


def log_density(p: np.ndarray, image: np.ndarray, likelihood: str) -> np.ndarray:
    """log p(x | z) of each pixel, from its textbook formula."""
    if likelihood == "gaussian":
        return -((p - image) ** 2)
    bernoulli = image * np.log(p) + (1 - image) * np.log(1 - p)
    if likelihood == "bernoulli":
        return bernoulli
    return bernoulli + np.log(2 * np.arctanh(1 - 2 * p) / (1 - 2 * p))  # Loaiza-Ganem & Cunningham 2019, equation 7


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "continuous-bernoulli"])
def test_the_loss_in_elbo_is_that_of_the_likelihood_the_model_was_trained_on(
    files: Mapping[str, bytes], images: Pixels, likelihood: str
) -> None:
    small = make_variant(ONNX_INT8, files, images, LATENT_DIM)
    image = (images / 255).transpose(0, 3, 1, 2)

    def elbo(graphs: Mapping[str, bytes]) -> float:
        encoder = onnxruntime.InferenceSession(graphs["encoder"], providers=["CPUExecutionProvider"])
        mean, log_var = encoder.run(None, {"image": image.astype(np.float32)})
        noise = standard_normal(variants._TEST_SEED, np.arange(len(image)), LATENT_DIM, stream=1)
        p = decode(graphs["decoder"], mean + np.sqrt(np.exp(log_var)) * noise).astype(np.float64)
        p = p.clip(1e-7, 1 - 1e-7)
        kl = (mean**2 + np.exp(log_var) - log_var - 1).sum(1) / 2
        return float((log_density(p, image, likelihood).sum((1, 2, 3)) - kl).mean())

    report = measure_variant(
        ONNX_INT8, onnx_runnable(files), onnx_runnable(small), images, LATENT_DIM, likelihood=likelihood
    )
    assert report.elbo_loss_nats == pytest.approx(elbo(files) - elbo(small), abs=1e-3)
    assert f"ELBO ({likelihood})" in report.quality()


def test_a_slower_variant_says_so() -> None:
    make: Callable[..., variants.VariantReport] = variants.VariantReport
    slower = make(30, 100, 50.0, "gaussian", 0.1, images_per_s=90.0, float_images_per_s=100.0)
    assert slower.speed().endswith("0.90 times: not faster on this machine")
    assert slower.quality() == "30 bytes against 100 (30%), PSNR 50.0 dB, ELBO (gaussian) -0.100 nats per image"
