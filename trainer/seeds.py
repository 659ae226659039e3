"""Random generators: every draw is a function of (seed, purpose, epoch), independent of what ran before."""

import numpy as np
import torch

_PURPOSES = {
    "weights": 0,
    "order": 1,
    "noise": 2,
    "evaluation": 3,
    "pictures": 4,
    "split": 5,
    "binarize": 6,
    "prior": 7,
    "augment": 8,
}


def derive_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """A 63-bit seed for one purpose: weights, order, noise, evaluation, pictures, split, binarize, prior or augment."""
    state = np.random.SeedSequence([seed, _PURPOSES[purpose], epoch]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def generator(seed: int, purpose: str, epoch: int = 0, *, device: str | torch.device = "cpu") -> torch.Generator:
    """A fresh generator on `device` for one purpose of one epoch."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose, epoch))
