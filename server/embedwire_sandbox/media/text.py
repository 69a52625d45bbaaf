"""Text embedding: tokenizer, truncation, and hashed features.

A token is a run of word characters (letters, digits, underscore; in any script) or a single other character that
is not white space. The upstream's tokenizer is not public, so token limits are reached at other lengths than there.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice, pairwise
from math import sqrt
from typing import Final, Literal

import numpy as np

from embedwire_sandbox.media.vectors import Array, Vector, unit

Side = Literal["start", "end"]

_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_WORD_WEIGHT: Final = 1.0
_PAIR_WEIGHT: Final = 0.5
_GRAM_WEIGHT: Final = 0.25
_GRAM_LENGTHS: Final = (3, 4)
_GRAM_CHARACTERS: Final = 64  # n-grams of longer words come from their beginning only
_BATCH: Final = 512  # features per batch, so that a long text needs no large matrix


def count_tokens(text: str) -> int:
    """Count the tokens of a text by the rule in the module docstring."""
    return sum(1 for _ in _TOKEN.finditer(text))


def truncate(text: str, limit: int, side: Side) -> str:
    """Remove tokens from the start or the end until `limit` are left; the rest keeps its spelling."""
    excess = count_tokens(text) - limit
    if excess <= 0:
        return text
    if side == "end":
        last = next(islice(_TOKEN.finditer(text), limit - 1, None))
        return text[: last.end()]
    first = next(islice(_TOKEN.finditer(text), excess, None))
    return text[first.start() :]


def text_vector(text: str, dimensions: int) -> Vector:
    """Hash words, word pairs and character n-grams into a unit vector.

    Signed hashing: the bits of a feature's BLAKE2b digest are its signs, one for each coordinate, so that unrelated
    texts are nearly orthogonal.
    """
    total = np.zeros(dimensions)
    counted = iter(Counter(_features(text)).items())
    while batch := list(islice(counted, _BATCH)):
        weights = np.array([weight * sqrt(count) for (_, weight), count in batch])
        total += weights @ _signs([feature for (feature, _), _ in batch], dimensions)
    return unit(total)


def _features(text: str) -> Iterator[tuple[str, float]]:
    tokens: list[str] = _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())
    for token in tokens:
        yield f"word {token}", _WORD_WEIGHT
        padded = f"<{token[:_GRAM_CHARACTERS]}>"
        for length in _GRAM_LENGTHS:
            for start in range(len(padded) - length + 1):
                yield f"gram {padded[start : start + length]}", _GRAM_WEIGHT
    for left, right in pairwise(tokens):
        yield f"pair {left} {right}", _PAIR_WEIGHT


def _signs(features: list[str], dimensions: int) -> Array:
    digests = b"".join(_digest(feature.encode(), dimensions // 8) for feature in features)
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8)).reshape(len(features), dimensions)
    return bits.astype(np.float64) * 2.0 - 1.0


def _digest(feature: bytes, size: int) -> bytes:
    rounds = -(-size // blake2b.MAX_DIGEST_SIZE)
    return b"".join(blake2b(feature, salt=bytes([turn])).digest() for turn in range(rounds))[:size]
