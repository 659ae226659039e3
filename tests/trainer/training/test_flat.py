"""Keeping all weights in one flat vector does not change the results of training."""

import torch

from trainer.model.vae import ModelConfig, build_model
from trainer.objective.likelihood import bernoulli_nll, kl_to_standard_normal
from trainer.training.steps.flat import flatten_parameters


def test_adam_and_clipping_on_the_flat_vector_are_those_on_the_single_weights() -> None:
    config = ModelConfig((1, 6, 6), (9, 8), 3)
    plain, flattened = build_model(config, 0).double(), build_model(config, 0).double()
    weights = flatten_parameters(flattened)
    optimizers = torch.optim.Adam(plain.parameters()), torch.optim.Adam([weights], fused=True)
    random = torch.Generator().manual_seed(0)
    for _ in range(30):
        image = torch.rand(16, 1, 6, 6, generator=random, dtype=torch.float64)
        noise = torch.randn(16, 3, generator=random, dtype=torch.float64)
        for model, optimizer, parameters in zip(
            (plain, flattened), optimizers, (list(plain.parameters()), [weights]), strict=True
        ):
            mean, log_var = model.encode(image)
            logits = model.decode_logits(model.reparameterize(mean, log_var, noise))
            optimizer.zero_grad(set_to_none=False)
            (bernoulli_nll(logits, image) + kl_to_standard_normal(mean, log_var)).sum().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(flattened.state_dict()[name], tensor, rtol=1e-9, atol=1e-12)
