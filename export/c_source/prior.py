"""What the C source needs of a prior that is a mixture."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Mixture(Protocol):
    """K diagonal Gaussians over L latents, chosen by alias tables of S slots: prior, version 1."""

    @property
    def shift(self) -> npt.NDArray[np.float32]:
        """Mean divided by standard deviation, (K, L)."""

    @property
    def scale(self) -> npt.NDArray[np.float32]:
        """Standard deviation, (K, L)."""

    @property
    def thresholds(self) -> npt.NDArray[np.uint32]:
        """(1 + C, S): a row for any class, then one for each of the C classes."""

    @property
    def aliases(self) -> npt.NDArray[np.uint32]:
        """(1 + C, S)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C classes; none where the training images had no labels."""

    def latents(self, seed: int, indices: Any, labels: Any = -1, temperature: float = 1.0) -> npt.NDArray[np.float32]:
        """Latents (N, L) of samples of `seed`, for the label -1 (any class) or a number of a class."""
