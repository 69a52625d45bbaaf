"""From features to a vector: projection to the model's dimension, and unit length.

Sums are made in float64 and rounded to float32 at the end, so that the order in which a machine adds does not show.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Vector = np.ndarray[Any, np.dtype[np.float32]]

_SEED: Final = 20_250_801
_TINY: Final = 1e-12


def unit(values: Array) -> Vector:
    """Scale to length 1. A zero vector becomes the first axis: nothing the sandbox returns is zero."""
    length = float(np.linalg.norm(values))
    if length < _TINY:
        values, length = np.eye(1, values.size)[0], 1.0
    return (values / length).astype(np.float32)


def block(values: Array, weight: float, floor: float) -> Array:
    """Give one kind of feature its share of the whole.

    Args:
        values: Features of one kind, any shape.
        weight: The length that the result has.
        floor: Below this length the values are taken for noise and are not blown up to the full weight.

    Returns:
        The flat features, of length `weight` or less.
    """
    flat = values.ravel()
    return flat * (weight / max(float(np.linalg.norm(flat)), floor))


def project(features: Array, dimensions: int) -> Vector:
    """Map features of any number to a unit vector of `dimensions`, keeping angles nearly as they are."""
    return unit(features @ _signs(features.size, dimensions))


@lru_cache(maxsize=16)
def _signs(features: int, dimensions: int) -> Array:
    # RandomState is frozen by NumPy's own promise, and integers need no libm: the same signs on every machine.
    random = np.random.RandomState(_SEED)
    return random.randint(0, 2, size=(features, dimensions)).astype(np.float64) * 2.0 - 1.0
