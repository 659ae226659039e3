"""The implementations of the training step agree with each other."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from trainer.model.vae import ModelConfig, build_model
from trainer.settings import Settings
from trainer.training.epoch import train_epoch
from trainer.training.execution import Execution
from trainer.training.state import TrainingState
from trainer.training.steps.autograd import AutogradStep
from trainer.training.steps.cuda_graph import GraphStep
from trainer.training.steps.flat import clip_norm_, flatten_parameters
from trainer.training.steps.gemm import has_bf16, linear, matmul
from trainer.training.steps.mlp import MlpStep

PLAIN = Settings("test", (13, 11), 4, batch_size=6, epochs=1, clip_norm=1.0)


def after_steps(
    kind: type[MlpStep] | type[AutogradStep], settings: Settings, dtype: torch.dtype, steps: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, last gradient and totals after some steps on random images."""
    model = build_model(ModelConfig.of(settings, (1, 5, 6)), 1).to(dtype)
    weights = flatten_parameters(model)
    random = torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam([weights], lr=1e-3, fused=True)
    step = kind(model, weights, optimizer, settings)
    for _ in range(steps):
        pixels = torch.randint(256, (6, 5, 6, 1), dtype=torch.uint8, generator=random)
        step(pixels, torch.randn(6, 1, settings.latent_dim, dtype=dtype, generator=random), 0.7)
    assert weights.grad is not None
    return weights.detach(), weights.grad, step.totals


@pytest.mark.parametrize("clip_norm", [None, 1.0, 1e6])
@pytest.mark.parametrize("hidden", [(13,), (13, 11), (8, 13, 11)])
def test_the_closed_form_gradient_equals_autograds(hidden: tuple[int, ...], clip_norm: float | None) -> None:
    settings = replace(PLAIN, hidden=hidden, clip_norm=clip_norm)
    by_hand = after_steps(MlpStep, settings, torch.float64)
    by_autograd = after_steps(AutogradStep, settings, torch.float64)
    for ours, theirs in zip(by_hand, by_autograd, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def epochs(device: str, *, graph: bool) -> tuple[list[float], Tensor]:
    """Losses of three epochs of batches of 6 and 2, and the weights after them."""
    settings = replace(PLAIN, likelihood="gaussian", batch_norm=True, kl_warmup=2.0, schedule="cosine", epochs=3)
    images = torch.randint(256, (20, 5, 6, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)).to(device)
    config = ModelConfig.of(settings, (1, 5, 6))
    state = TrainingState.start(build_model(config, 0), settings, Execution(torch.device(device), graph=graph))
    if graph and device == "cpu":
        assert isinstance(state.step, AutogradStep)
        state = replace(state, step=GraphStep(state.step, settings.batch_size))
    losses = [train_epoch(state, images, settings, epoch).loss for epoch in (1, 2, 3)]
    return losses, torch.cat([tensor.detach().flatten().float() for tensor in state.model.state_dict().values()])


def test_capturing_a_step_does_not_change_weights_statistics_or_optimiser() -> None:
    (losses, weights), (expected_losses, expected_weights) = epochs("cpu", graph=True), epochs("cpu", graph=False)
    assert losses == expected_losses
    assert torch.equal(weights, expected_weights)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine")
def test_cuda_graph_and_eager_steps_agree() -> None:
    (losses, weights), (expected_losses, expected_weights) = epochs("cuda", graph=True), epochs("cuda", graph=False)
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    torch.testing.assert_close(weights, expected_weights, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("largest", [0.5, 100.0])
def test_clipping_equals_torchs(largest: float) -> None:
    gradient = torch.arange(4.0)
    parameter = nn.Parameter(torch.zeros(4))
    parameter.grad = gradient.clone()
    nn.utils.clip_grad_norm_(parameter, largest)
    clip_norm_(gradient, largest)
    torch.testing.assert_close(gradient, parameter.grad)


def test_float32_steps_agree_to_rounding() -> None:
    for ours, theirs in zip(
        after_steps(MlpStep, PLAIN, torch.float32, 1), after_steps(AutogradStep, PLAIN, torch.float32, 1), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="this processor has no bf16 instructions")
def test_bf16_rounds_products_but_not_weights() -> None:
    settings = replace(PLAIN, precision="bf16", clip_norm=None)
    rounded, exact = after_steps(MlpStep, settings, torch.float32, 1), after_steps(MlpStep, PLAIN, torch.float32, 1)
    assert rounded[0].dtype == torch.float32
    assert (rounded[2] / exact[2] - 1).abs().max() < 0.02
    assert not torch.equal(rounded[2], exact[2])


@pytest.mark.parametrize(
    "changes",
    [{"bound": "iwae"}, {"likelihood": "gaussian"}, {"draws": 2}, {"free_bits": 0.1}, {"batch_norm": True},
     {"activation": "tanh"}, {"network": "conv"}],
)  # fmt: skip
def test_unsupported_settings_use_autograd(changes: dict[str, object]) -> None:
    assert MlpStep.supports(PLAIN, torch.device("cpu"))
    assert not MlpStep.supports(replace(PLAIN, **changes), torch.device("cpu"))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_onednn_products_equal_torchs(dtype: torch.dtype) -> None:
    x, weight, bias = torch.randn(5, 7, dtype=dtype), torch.randn(3, 7, dtype=dtype), torch.randn(3, dtype=dtype)
    torch.testing.assert_close(linear(x, weight, bias), nn.functional.linear(x, weight, bias))
    torch.testing.assert_close(linear(x, weight, bias, relu=True), nn.functional.linear(x, weight, bias).relu())
    torch.testing.assert_close(matmul(x.t(), x), x.t() @ x)
