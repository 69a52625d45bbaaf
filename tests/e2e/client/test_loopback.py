"""Which targets are on this machine, by the table that all clients share."""

import json
from pathlib import Path

import pytest

from embedwire import AsyncClient, Client
from embedwire.loopback import is_loopback

TABLE = json.loads((Path(__file__).parents[3] / "clients/loopback.json").read_text())["targets"]


@pytest.mark.parametrize(("target", "expected"), TABLE)
def test_the_table_of_all_clients(target: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    """Credentials in plaintext are accepted for exactly the targets that the table calls loopback."""
    assert is_loopback(target) is expected
    for kind in (Client, AsyncClient):
        if expected:
            assert kind(target, token="t")
        else:
            with pytest.raises(ValueError, match="token"):
                kind(target, token="t")


@pytest.mark.parametrize("target", ["localho\u017ft:1", "127.0.0.\u0661:1", "localhost:1\n", "127.0.0.1:1,10.0.0.1:1"])
def test_characters_that_look_alike(target: str) -> None:
    """Letters and digits beyond ASCII, line breaks, and lists without a scheme are remote."""
    assert not is_loopback(target)
