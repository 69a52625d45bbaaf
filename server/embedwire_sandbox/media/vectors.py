"""Random projection of features to a unit vector of the model's dimension.

Sums are computed in float64 and rounded to float32 at the end, so that the order of additions makes no difference.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Vector = np.ndarray[Any, np.dtype[np.float32]]

_SEED: Final = 20_250_801
_TINY: Final = 1e-12
# Non-finite numbers as a broken service writes them; only scripted faults produce them.
_NON_FINITE: Final = {"nan": "NaN", "inf": "1e400"}


def unit(values: Array) -> Vector:
    """Scale to length 1. A zero vector becomes the first axis, since the sandbox returns no zero vector."""
    length = float(np.linalg.norm(values))
    if length < _TINY:
        values, length = np.eye(1, values.size)[0], 1.0
    return (values / length).astype(np.float32)


def block(values: Array, weight: float, floor: float) -> Array:
    """Weight one kind of feature.

    Args:
        values: Features of one kind, any shape.
        weight: Length of the result.
        floor: Values below this length are taken for noise, and are not scaled to the full weight.

    Returns:
        The flat features, of length `weight` or less.
    """
    flat = values.ravel()
    return flat * (weight / max(float(np.linalg.norm(flat)), floor))


def project(features: Array, dimensions: int) -> Vector:
    """Project features to a unit vector of `dimensions`, with angles nearly preserved."""
    return unit(features @ _signs(features.size, dimensions))


def numbers(vector: Vector) -> str:
    """Return the numbers of a vector as JSON writes them, separated by commas."""
    # A float32 survives a round trip through nine significant digits.
    written = [f"{value:.9g}" for value in vector.tolist()]
    if not np.isfinite(vector).all():
        written = [_NON_FINITE.get(value, value) for value in written]
    return ",".join(written)


@lru_cache(maxsize=16)
def _signs(features: int, dimensions: int) -> Array:
    # NumPy guarantees the stream of RandomState, and integers need no libm: the same signs on every machine.
    random = np.random.RandomState(_SEED)
    return random.randint(0, 2, size=(features, dimensions)).astype(np.float64) * 2.0 - 1.0
