"""Faults that model and graph share, so that the parity check cannot find them, are refused by the guards."""

from collections.abc import Callable

import onnx
import pytest
import torch
from torch import Tensor, nn

from export.checks.guards import check_evaluation_mode, check_model, check_onnx, check_traced
from export.errors import ExportError, ModelError
from export.formats.to_onnx import to_onnx
from export.graphs import Decoder
from export.specs import GraphSpec, graphs_of
from runtime.manifest import Metadata
from trainer.checkpoint import Checkpoint
from trainer.model.vae import VAE

Make = Callable[..., Checkpoint]
LATENT_DIM = 3


@pytest.fixture
def model(random_checkpoint: Make) -> VAE:
    return random_checkpoint(latent_dim=LATENT_DIM).build_model()


def check(model: VAE) -> None:
    check_model(model, torch.rand(8, *model.config.image_shape), torch.randn(8, LATENT_DIM))


def decoder_spec(model: VAE, module: nn.Module) -> GraphSpec:
    spec = graphs_of(model)[0]
    return GraphSpec(spec.name, module.eval(), spec.inputs, spec.outputs)


def test_a_sound_model_passes(model: VAE) -> None:
    check(model)


def test_batch_norm_in_training_mode_is_refused_by_name(model: VAE) -> None:
    model.decoder.insert(1, nn.BatchNorm1d(11).train())
    with pytest.raises(ModelError, match=r"decoder\.1 \(BatchNorm1d\) is in training mode"):
        check(model)


def test_a_decoder_that_ignores_its_latents_is_refused(model: VAE) -> None:
    nn.init.zeros_(model.decoder.get_parameter("0.weight"))
    with pytest.raises(ModelError, match="decoder: 8 different latents all give the same output"):
        check(model)


def test_an_encoder_that_ignores_its_images_is_refused(model: VAE) -> None:
    nn.init.zeros_(model.mean.weight)
    with pytest.raises(ModelError, match="encoder: 8 different images all give the same output"):
        check(model)


class MeanPlusDeviation(VAE):
    """Evaluation adds a standard deviation to the mean; encoder and decoder are right, and so are their graphs."""

    def reparameterize(self, mean: Tensor, log_var: Tensor, noise: Tensor | None = None) -> Tensor:
        return mean + torch.exp(log_var / 2)


def test_evaluation_that_does_not_go_through_the_mean_is_refused(model: VAE) -> None:
    wrong = MeanPlusDeviation(model.config).eval()
    with pytest.raises(ModelError, match="mean is not the latent that the model uses in evaluation mode"):
        check(wrong)


class Noisy(Decoder):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z + torch.randn_like(z))


class Dropping(Decoder):
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(z, 0.5, training=True))


@pytest.mark.parametrize(("kind", "call"), [(Noisy, "randn_like"), (Dropping, "dropout")])
def test_a_graph_with_random_operators_is_refused(kind: type[Decoder], call: str, model: VAE) -> None:
    with pytest.raises(ModelError, match=f"random call {call}"):
        check_traced(decoder_spec(model, kind(model)))


def test_dropout_in_evaluation_mode_passes(model: VAE) -> None:
    model.decoder.insert(1, nn.Dropout(0.5))
    check_traced(decoder_spec(model.eval(), Decoder(model)))


def test_a_module_in_training_mode_is_found_however_deep(model: VAE) -> None:
    model.decoder[0].train()
    with pytest.raises(ModelError, match=r"decoder\.0"):
        check_evaluation_mode(model)


def onnx_of(spec: GraphSpec) -> onnx.ModelProto:
    return to_onnx(spec, Metadata("0" * 16, 1, LATENT_DIM, (1, 8, 6), {}))


def test_random_nodes_and_fixed_batches_in_onnx_are_refused(model: VAE) -> None:
    spec = graphs_of(model)[0]
    graph = onnx_of(spec)
    check_onnx(spec, graph)
    dimension = graph.graph.input[0].type.tensor_type.shape.dim[0]
    dimension.Clear()
    dimension.dim_value = 2
    with pytest.raises(ModelError, match="batch dimension of its input 'z' is fixed"):
        check_onnx(spec, graph)
    graph.graph.node.append(onnx.helper.make_node("RandomNormalLike", ["z"], ["noise"]))
    with pytest.raises(ModelError, match="node RandomNormalLike is random"):
        check_onnx(spec, graph)


def test_a_model_error_is_an_export_error() -> None:
    assert issubclass(ModelError, ExportError)
