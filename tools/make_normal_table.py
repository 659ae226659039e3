"""Derive the normal table of noise version 1 and write it to `runtime/normal_table_v1.f32`.

T[i], i = 0 … 65535, is the mean of N(0, 1) given that it falls into the i-th of 65,536 equally likely bins,

    n · (φ(a_i) − φ(a_{i+1})),   a_i = Φ⁻¹(i / n),   n = 65,536,

divided by the root mean square of all of them, so that a uniform draw from T has mean 0 and variance exactly 1.
Every entry is computed to 50 digits and then rounded once to float32, so any correct implementation writes the same
bytes. Needs mpmath; takes a minute or two.

    python tools/make_normal_table.py            # writes the file
    python tools/make_normal_table.py --check    # derives it again and compares
"""

import hashlib
import sys
from itertools import pairwise
from pathlib import Path

import mpmath
import numpy as np

BINS = 65_536
TABLE = Path(__file__).parent.parent / "runtime" / "normal_table_v1.f32"


def derive_table() -> np.ndarray:
    """The 65,536 entries, ascending, as little-endian float32."""
    mpmath.mp.dps = 50
    # The density at the bin edges. The lower half is enough, because T[i] = −T[n − 1 − i].
    densities = [mpmath.mpf(0)]
    for i in range(1, BINS // 2 + 1):
        edge = mpmath.sqrt(2) * mpmath.erfinv(mpmath.mpf(2 * i) / BINS - 1)
        densities.append(mpmath.npdf(edge))
    means = [BINS * (low - high) for low, high in pairwise(densities)]  # negative, ascending
    root_mean_square = mpmath.sqrt(2 * mpmath.fsum(mean * mean for mean in means) / BINS)
    lower = np.array([_round_to_float32(mean / root_mean_square) for mean in means], dtype="<f4")
    return np.concatenate([lower, -lower[::-1]])


def _round_to_float32(value: mpmath.mpf) -> np.float32:
    """Round to the nearest float32, comparing the neighbours exactly; rounding via float64 could round twice."""
    near = np.float32(float(value))
    neighbours = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    return min(neighbours, key=lambda candidate: abs(mpmath.mpf(float(candidate)) - value))


def main() -> None:
    table = derive_table().tobytes()
    if sys.argv[1:] == ["--check"]:
        if TABLE.read_bytes() != table:
            sys.exit(f"{TABLE} differs from its derivation")
    else:
        TABLE.write_bytes(table)
    print(f"{hashlib.sha256(table).hexdigest()}  {TABLE.name}")


if __name__ == "__main__":
    main()
