"""Vectors of Marengo 3.5: other ones than those of 3.0, with a prefix for each dimension, and their uncertainty."""

from functools import lru_cache
from typing import Any, Final

import numpy as np

from embedwire_sandbox.media.vectors import Array, Vector, unit
from embedwire_sandbox.v2.parameters import Common

_SEED: Final = 20_260_831
_BASE: Final = 0.05


def combined(vectors: list[Vector]) -> Vector:
    """Return one unit vector for several."""
    total: Array = np.sum([vector.astype(np.float64) for vector in vectors], axis=0)
    return unit(total)


def of_model(vector: Vector, common: Common) -> Vector:
    """Return the vector of the requested model and dimension, for one of Marengo 3.0.

    That of 3.5 has its numbers in another order and with other signs, so that angles within 3.5 are those within 3.0,
    and vectors of the two models are unrelated. A shorter vector consists of the first numbers of the full one, and is
    not scaled to unit length: nothing in the documentation says that it is.
    """
    if not common.limits.is_newer:
        return vector
    order, signs = _disguise(vector.size)
    full: Vector = vector[order] * signs
    return full[: common.dimension]


def uncertainty(vector: Vector, common: Common) -> Vector | None:
    """Return the uncertainty of each number, from 0.05 to 0.1; larger for smaller numbers. `None` if not requested."""
    if not common.uncertainty:
        return None
    certain: Vector = (_BASE * (2.0 - np.clip(np.abs(vector), 0, 1))).astype(np.float32)
    return certain


@lru_cache(maxsize=4)
def _disguise(size: int) -> tuple[np.ndarray[Any, np.dtype[np.int64]], Vector]:
    generator = np.random.RandomState(_SEED)
    return generator.permutation(size), (generator.randint(0, 2, size) * 2 - 1).astype(np.float32)
