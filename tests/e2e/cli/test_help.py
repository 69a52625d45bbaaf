"""Help pages of the command."""

import asyncio

import pytest

from tests.e2e.cli.running import run

COMMANDS: tuple[tuple[str, ...], ...] = ((), ("embed",), ("plot",), ("models",), ("batch",))


@pytest.mark.parametrize("columns", [80, 120])
async def test_help_shows_choices_and_placeholders(columns: int) -> None:
    """Help pages fit the width, and show choices, but neither the types of flags nor ranges of numbers."""
    pages = await asyncio.gather(*(run("", *words, "--help", COLUMNS=str(columns)) for words in COMMANDS))
    embed = " ".join(pages[1].out.replace("│", " ").split())

    assert [page.code for page in pages] == [0] * 5
    for page in pages:
        assert max(map(len, page.out.splitlines())) <= columns
        assert not [word for word in ("<bool>", "bool", "<=x", "x>=") if word in page.out]
        assert "Exit codes" in page.out
    for shown in (
        "--format <table|json|npy>",
        "--truncate <none|start|end>",
        "--timeout SECONDS Deadline",
        "--max-retries N Maximum",
        "--image FILE|URL... ",
        "--tls Use TLS",
        "--lines With --text -: one text per line",
    ):
        assert shown in embed
