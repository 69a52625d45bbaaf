"""No block of a page is run by nothing."""

import pytest

from tests.docs.blocks import ROOT, Block, blocks, parse
from tests.docs.owners import EXEMPT, OWNERS, Exempt, Owner, exemptions, owner

BLOCKS = blocks()


def test_every_block_is_run_by_a_test() -> None:
    """Each block has a test or is exempt; output without a language follows a program."""
    unowned = [f"{block.place}: ```{block.language}" for block in BLOCKS if not owner(block) and not exemptions(block)]
    assert unowned == [], "no row in tests/docs/owners.py"


@pytest.mark.parametrize("row", EXEMPT, ids=lambda row: f"{row.page}-{row.begins[:20]}")
def test_an_exemption_is_of_one_block(row: Exempt) -> None:
    """Each exemption is of exactly one block, so that a new block of the page needs a test."""
    assert sum(row in exemptions(block) for block in BLOCKS) == 1


@pytest.mark.parametrize("row", OWNERS, ids=lambda row: f"{row.pages}-{row.test}")
def test_an_owner_exists(row: Owner) -> None:
    """Each test of the table exists and has blocks to run."""
    assert (ROOT / row.test).is_file()
    assert any(owner(block) is row for block in BLOCKS)


def test_blocks_of_a_page() -> None:
    """Programs are found with their output; other blocks without a language stay alone."""
    markdown = "# Page\n\n```python\nprint(1)\n```\n\n```\n1\n```\n\nText.\n\n```\n2\n```\n\n    indented\n"

    assert parse("a.md", markdown) == [
        Block("a.md", 3, "python", "print(1)\n", "1\n"),
        Block("a.md", 13, "", "2\n"),
        Block("a.md", 17, "indented", "indented\n"),
    ]
