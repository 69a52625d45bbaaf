"""Counting, truncation and vectors of text."""

import numpy as np
import pytest

from embedwire_sandbox.media.text import count_tokens, text_vector, truncate


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), (" \n", 0), ("hello world", 2), ("it's 3.5!", 7), ("naïve_name 木木", 2), ("...", 3), ("a-b", 3)],
)
def test_count(text: str, tokens: int) -> None:
    """A token is a run of word characters or one other character except white space."""
    assert tokens == count_tokens(text)


def test_truncate() -> None:
    """Truncation removes complete tokens at one side; the rest is not changed."""
    text = "  one, two\tthree !"
    assert truncate(text, 5, "end") == text
    assert truncate(text, 3, "end") == "  one, two"
    assert truncate(text, 2, "start") == "three !"


@pytest.mark.parametrize("dimensions", [512, 1024])
def test_near_and_far(dimensions: int) -> None:
    """A text with one other word is near, with other case and spacing equal, and on another subject far."""
    text = text_vector("the quick brown fox jumps over the lazy dog", dimensions)

    assert text @ text_vector("the quick brown fox jumps over the lazy cat", dimensions) > 0.8
    assert text @ text_vector("The quick brown fox  jumps over the LAZY dog", dimensions) == pytest.approx(1, abs=1e-6)
    assert abs(text @ text_vector("markets fell on fears of rising rates", dimensions)) < 0.2


def test_order_counts() -> None:
    """The same words in another order are near, and not equal."""
    assert 0.6 < text_vector("the dog bites the man", 512) @ text_vector("the man bites the dog", 512) < 0.99


@pytest.mark.parametrize("text", ["!", "?!...", "木", "x", "\x00", "e\u0301", "a" * 100_000, "\U0001d518 🙂", "\ufdfa"])
def test_odd_texts(text: str) -> None:
    """The vector of any text is finite, of unit length, and differs from those of others."""
    vector = text_vector(text, 512)

    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert vector @ text_vector("something else", 512) < 0.5


def test_long_words_differ_after_a_common_prefix() -> None:
    """Long words with a common prefix have different vectors."""
    assert text_vector("a" * 5000 + "b", 512) @ text_vector("a" * 5000 + "c", 512) < 0.999


def test_frozen_numbers() -> None:
    """The numbers are the same in every process, on every machine and in every version."""
    frozen = [-0.00799003429710865, 0.0399501733481884, -0.0719103142619133, 0.0719103142619133]

    assert text_vector("Embedwire", 512)[:4].tolist() == pytest.approx(frozen, rel=1e-6)
