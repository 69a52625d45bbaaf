"""Markdown of GitHub becomes Markdown that Python-Markdown reads in the same way."""

import pytest

from docs.website import dialect


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Text:\n- a\n- b", "Text:\n\n- a\n- b"),
        ("Text:\n1. a", "Text:\n\n1. a"),
        ("- a\n  more\n  - b\n- c", "- a\n    more\n    - b\n- c"),
        ("1. a\n\n   more", "1. a\n\n      more"),
        ("- a\n\n  ```\n  - x\n    y\n  ```\n- b", "- a\n\n    ```\n    - x\n      y\n    ```\n- b"),
        ("a\n```\nb\n- c\n  d\n```\ne", "a\n```\nb\n- c\n  d\n```\ne"),
        ("| a |\n|---|\n| - b |", "| a |\n|---|\n| - b |"),
    ],
    ids=["list", "numbered list", "nested list", "paragraph of an item", "block of an item", "block", "table"],
)
def test_lists_are_converted(text: str, expected: str) -> None:
    """A list has an empty line above, items have four spaces below, and code keeps its own indentation."""
    assert dialect.convert(text) == expected
