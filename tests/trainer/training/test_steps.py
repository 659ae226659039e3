"""The implementations of the training step agree with each other."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer.model.vae import ModelConfig, build_model
from trainer.objective.likelihood import NLL
from trainer.settings import Settings
from trainer.training.epoch import train_epoch
from trainer.training.execution import Execution
from trainer.training.state import TrainingState
from trainer.training.steps.autograd import AutogradGradient, AutogradStep
from trainer.training.steps.choose import split_step
from trainer.training.steps.cuda_graph import GraphStep, Record
from trainer.training.steps.flat import clip_norm_, flatten_parameters
from trainer.training.steps.gemm import BLAS, ONEDNN, Products, has_bf16
from trainer.training.steps.likelihoods import LIKELIHOODS
from trainer.training.steps.mlp import MlpGradient
from trainer.training.steps.program import without_python
from trainer.training.steps.step import Step
from trainer.training.steps.tactics import Tactic
from trainer.training.steps.workers import Workers

PLAIN = Settings("test", (13, 11), 4, batch_size=6, epochs=1, clip_norm=1.0)


def after_steps(
    settings: Settings, dtype: torch.dtype, *, parts: int | None, steps: int = 3, images: int = 6
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, Adam's mean of the gradients, and totals after some steps on random images.

    parts: of a split step; None takes the step of torch's own autograd and Adam, as the reference.
    """
    model = build_model(ModelConfig.of(settings, (1, 5, 6)), 1).to(dtype)
    weights = flatten_parameters(model)
    random = torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam([weights], lr=1e-3, fused=True)
    step: Step
    if parts is None:
        step = AutogradStep(model, weights, optimizer, settings)
    else:
        step = split_step(model, weights, optimizer, settings, parts=parts)
    for _ in range(steps):
        pixels = torch.randint(256, (images, 5, 6, 1), dtype=torch.uint8, generator=random)
        noise = torch.randn(images, settings.draws, settings.latent_dim, dtype=dtype, generator=random)
        step(pixels, noise, [0.7])
    return weights.detach(), optimizer.state[weights]["exp_avg"], step.totals


def assert_same_step(settings: Settings, *, parts: int, images: int = 6) -> None:
    split = after_steps(settings, torch.float64, parts=parts, images=images)
    reference = after_steps(settings, torch.float64, parts=None, images=images)
    for ours, theirs in zip(split, reference, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("clip_norm", [None, 1.0, 1e6])
@pytest.mark.parametrize("hidden", [(13,), (13, 11), (8, 13, 11)])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_closed_form_gradient_equals_autograds(
    hidden: tuple[int, ...], clip_norm: float | None, parts: int
) -> None:
    settings = replace(PLAIN, hidden=hidden, clip_norm=clip_norm)
    assert MlpGradient.supports(settings)
    assert_same_step(settings, parts=parts)


@pytest.mark.parametrize("likelihood", tuple(LIKELIHOODS))
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_closed_form_gradient_has_every_likelihood_and_activation(likelihood: str, activation: str) -> None:
    settings = replace(PLAIN, likelihood=likelihood, activation=activation)
    assert MlpGradient.supports(settings)
    assert_same_step(settings, parts=2)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("likelihood", tuple(LIKELIHOODS))
@pytest.mark.parametrize("bound", [{"draws": 2}, {"bound": "iwae", "draws": 3}, {"bound": "dreg", "draws": 3}])
def test_the_closed_form_gradient_has_every_bound(bound: dict[str, Any], likelihood: str, parts: int) -> None:
    settings = replace(PLAIN, likelihood=likelihood, **bound)
    assert MlpGradient.supports(settings)
    assert_same_step(settings, parts=parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"bound": "iwae", "draws": 3, "activation": "silu"},
        {"bound": "dreg", "draws": 3, "activation": "silu"},
        {"draws": 2, "activation": "silu"},
        {"network": "conv", "hidden": (4,)},
        {"activation": "silu"},
    ],
)
def test_autograd_on_parts_of_a_batch_adds_up_to_autograd_on_all_of_it(changes: dict[str, Any]) -> None:
    settings = replace(PLAIN, **changes)
    assert not MlpGradient.supports(settings)
    assert_same_step(settings, parts=3)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_batch_may_have_fewer_images_than_parts(network: str) -> None:
    assert_same_step(replace(PLAIN, network=network, hidden=(4,)), parts=3, images=2)
    after_steps(replace(PLAIN, network=network, hidden=(4,)), torch.float32, parts=3, images=2)


@pytest.mark.parametrize("logit", [-100.0, -0.1, -0.0999, 0.0, 0.01, 0.1, 3.0, 40.0, 100.0])
@pytest.mark.parametrize("likelihood", tuple(LIKELIHOODS))
def test_likelihoods_stay_exact_where_a_sigmoid_saturates(likelihood: str, logit: float) -> None:
    logits = torch.full((2, 3, 11), logit, requires_grad=True)
    image = torch.linspace(0, 1, 22).view(2, 11)
    expected = NLL[likelihood](logits.view(6, 1, 1, 11), image.repeat_interleave(3, 0)[:, None, None]).view(2, 3)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), logits)
    value, gradient = LIKELIHOODS[likelihood](logits.detach().clone(), image)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "changes", [{}, {"clip_norm": None}, {"precision": "bf16"}, {"bound": "iwae", "draws": 3}, {"draws": 2}]
)
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_neither_threads_nor_batches_in_one_call_change_a_bit(changes: dict[str, Any], parts: int) -> None:
    """Programs that meet without Python, and phases done by one thread, train alike."""
    if "precision" in changes and not has_bf16(torch.device("cpu")):
        pytest.skip("this processor has no bf16 instructions")
    settings = replace(PLAIN, hidden=(40, 30), batch_size=48, **changes)

    def trained(workers: Workers | None, calls: list[int], tactic: Tactic) -> tuple[Tensor, Tensor]:
        model = build_model(ModelConfig.of(settings, (1, 5, 6)), 1)
        weights = flatten_parameters(model)
        step = split_step(model, weights, torch.optim.Adam([weights], fused=True), settings, parts=parts)
        step.workers, step.tactics.tactic = workers or step.workers, tactic
        random = torch.Generator().manual_seed(2)
        pixels = torch.randint(256, (6 * 48, 5, 6, 1), dtype=torch.uint8, generator=random)
        noise = torch.randn(6 * 48, settings.draws, settings.latent_dim, generator=random)
        kl_weights, start = [0.1, 0.2, 0.4, 0.6, 0.8, 1.0], 0
        for batches in calls:
            rows = slice(start * 48, (start + batches) * 48)
            step(pixels[rows], noise[rows], kl_weights[start : start + batches])
            start += batches
        return weights.detach(), step.totals

    weights, totals = trained(None, [6], Tactic.PATIENT)
    for other, calls, tactic in [
        (None, [1, 3, 2], Tactic.HASTY),
        (None, [6], Tactic.ALONE),
        (Workers(1 if parts > 1 else 2), [1] * 6, Tactic.PATIENT),
    ]:
        other_weights, other_totals = trained(other, calls, tactic)
        assert torch.equal(weights, other_weights)
        assert torch.equal(totals, other_totals)


def test_a_step_that_fails_in_one_thread_ends_in_all_of_them() -> None:
    settings = replace(PLAIN, hidden=(40, 30), batch_size=48)
    model = build_model(ModelConfig.of(settings, (1, 5, 6)), 1)
    weights = flatten_parameters(model)
    step = split_step(model, weights, torch.optim.Adam([weights], fused=True), settings, parts=2)
    pixels, noise = torch.zeros(96, 5, 6, 1, dtype=torch.uint8), torch.zeros(96, 1, settings.latent_dim)
    together = step.together
    assert together is not None
    with torch.no_grad():
        together.steps(pixels[:48], noise[:48], [1.0], step.workers, Tactic.PATIENT)

    def fail(*arguments: object) -> int:
        raise ValueError("out of memory")

    together.programs[48][1] = fail
    with torch.no_grad(), pytest.raises(ValueError, match="out of memory"):
        together.steps(pixels, noise, [1.0, 1.0], step.workers, Tactic.PATIENT)
    assert not together.can_step(48, step.workers)
    step(pixels, noise, [1.0, 1.0])  # by phases


@pytest.mark.parametrize("tactic", [Tactic.PATIENT, Tactic.HASTY])
def test_ctrl_c_while_a_thread_waits_for_another_is_no_runtime_error(tactic: Tactic) -> None:
    settings = replace(PLAIN, hidden=(40, 30), batch_size=48)
    model = build_model(ModelConfig.of(settings, (1, 5, 6)), 1)
    weights = flatten_parameters(model)
    step = split_step(model, weights, torch.optim.Adam([weights], fused=True), settings, parts=2)
    pixels, noise = torch.zeros(48, 5, 6, 1, dtype=torch.uint8), torch.zeros(48, 1, settings.latent_dim)
    together = step.together
    assert together is not None
    with torch.no_grad():
        together.steps(pixels, noise, [1.0], step.workers, tactic)
    program = together.programs[48][1]

    def late(*arguments: Any) -> int:
        time.sleep(0.1)  # in which the calling thread polls and sleeps
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        return program(*arguments)

    together.programs[48][1] = late
    with torch.no_grad(), pytest.raises(KeyboardInterrupt):
        together.steps(pixels, noise, [1.0], step.workers, tactic)


def warm_up(run: Callable[[], object]) -> Callable[[], object]:
    """A recording on the CPU: it trains, as the warm-up of a CUDA graph does, and its replay is the call itself."""
    for _ in range(3):
        run()
    return run


def epochs(device: str, *, graph: bool, record: Record = warm_up) -> tuple[list[float], Tensor]:
    """Losses of three epochs of batches of 6 and 2, and the weights after them."""
    settings = replace(PLAIN, likelihood="gaussian", batch_norm=True, kl_warmup=2.0, schedule="cosine", epochs=3)
    images = torch.randint(256, (20, 5, 6, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)).to(device)
    config = ModelConfig.of(settings, (1, 5, 6))
    state = TrainingState.start(build_model(config, 0), settings, Execution(torch.device(device), graph=graph))
    if graph and device == "cpu":
        assert isinstance(state.step, AutogradStep)
        state = replace(state, step=GraphStep(state.step, settings.batch_size, record))
    losses = [train_epoch(state, images, settings, epoch).loss for epoch in (1, 2, 3)]
    return losses, torch.cat([tensor.detach().flatten().float() for tensor in state.model.state_dict().values()])


def test_capturing_a_step_does_not_change_weights_statistics_or_optimiser() -> None:
    (losses, weights), (expected_losses, expected_weights) = epochs("cpu", graph=True), epochs("cpu", graph=False)
    assert losses == expected_losses
    assert torch.equal(weights, expected_weights)


def failing(run: Callable[[], object]) -> Callable[[], object]:
    """A recording that trains and then fails."""
    run()
    raise RuntimeError("operation not permitted when stream is capturing\nmore")


def forgetful(run: Callable[[], object]) -> Callable[[], object]:
    """A recording whose replay does nothing, as one that captured no kernel."""
    return lambda: None


def stuttering(run: Callable[[], object]) -> Callable[[], object]:
    """A recording whose replay takes two steps."""
    return lambda: (run(), run())


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (failing, "could not be recorded: operation not permitted when stream is capturing$"),
        (forgetful, "its totals differ"),
        (stuttering, "its totals differ"),
    ],
)
def test_a_graph_that_fails_or_trains_otherwise_is_not_used(record: Record, message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        losses, weights = epochs("cpu", graph=True, record=record)
    expected_losses, expected_weights = epochs("cpu", graph=False)
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
        after_steps(PLAIN, torch.float32, parts=2, steps=1),
        after_steps(PLAIN, torch.float32, parts=None, steps=1),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="this processor has no bf16 instructions")
def test_bf16_rounds_products_but_not_weights() -> None:
    settings = replace(PLAIN, precision="bf16", clip_norm=None)
    rounded = after_steps(settings, torch.float32, parts=2)
    exact = after_steps(replace(settings, precision="float32"), torch.float32, parts=2)
    assert rounded[0].dtype == torch.float32
    assert (rounded[2] / exact[2] - 1).abs().max() < 0.02
    assert not torch.equal(rounded[2], exact[2])


@pytest.mark.parametrize("changes", [{"free_bits": 0.1}, {"batch_norm": True}])
def test_what_looks_at_the_whole_batch_is_not_split(changes: dict[str, Any]) -> None:
    assert AutogradGradient.supports(PLAIN)
    settings = replace(PLAIN, **changes)
    assert not AutogradGradient.supports(settings)
    state = TrainingState.start(build_model(ModelConfig.of(settings, (1, 5, 6)), 0), settings)
    assert isinstance(state.step, AutogradStep)


@pytest.mark.parametrize("library", [ONEDNN, BLAS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_either_library_equal_torchs(library: str, dtype: torch.dtype) -> None:
    x, weight, bias = torch.randn(90, 80, dtype=dtype), torch.randn(100, 80, dtype=dtype), torch.randn(100, dtype=dtype)
    products, expected = Products(library), nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(products.linear(x, weight, bias), expected)
    torch.testing.assert_close(products.linear(x, weight, bias, activation="relu"), expected.relu())
    torch.testing.assert_close(products.linear(x, weight, bias, activation="tanh"), expected.tanh())
    torch.testing.assert_close(products.matmul(x.t(), x), x.t() @ x)


@pytest.mark.parametrize("library", [ONEDNN, BLAS])
def test_large_products_are_by_the_library_that_was_asked_for(library: str) -> None:
    products = Products(library)
    program: Any = without_python(lambda a, b: [products.matmul(a, b)], [torch.ones(90, 80), torch.ones(80, 100)])
    by_onednn = "mkldnn::_linear_pointwise" in str(program.inlined_graph)
    assert by_onednn == (library == ONEDNN and torch.backends.mkldnn.is_available())
