"""Addresses to listen on."""

import pytest

from embedwire_server.core.address import Address, parse_address
from tests.unit.config.support import load


@pytest.mark.parametrize(
    ("text", "host", "port", "is_loopback"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051, True),
        ("127.255.0.1:1", "127.255.0.1", 1, True),
        ("[::1]:0", "::1", 0, True),
        ("localhost:65535", "localhost", 65535, True),
        ("0.0.0.0:1", "0.0.0.0", 1, False),
        ("[::]:1", "::", 1, False),
        ("10.0.0.1:1", "10.0.0.1", 1, False),
        ("example.com:1", "example.com", 1, False),
    ],
)
def test_addresses(text: str, host: str, port: int, *, is_loopback: bool) -> None:
    """An address is HOST:PORT, with an IPv6 host in brackets."""
    address = parse_address(text)
    assert (address, address.host, address.port, address.is_loopback) == (text, host, port, is_loopback)


@pytest.mark.parametrize(
    "text", ["", "localhost", ":50051", "localhost:", "localhost:65536", "localhost:-1", "h:٣", "h:x", "h: 1"]
)
def test_wrong_addresses(text: str) -> None:
    """A value other than HOST:PORT is refused with a message that shows an example."""
    with pytest.raises(ValueError, match=r"HOST:PORT with a port from 0 to 65535, for instance 127\.0\.0\.1:50051"):
        parse_address(text)


def test_settings_have_addresses() -> None:
    """Both address settings give host and port separately."""
    settings = load(listen="[::1]:7", metrics_listen="localhost:8")
    assert (settings.server.address.host, settings.server.address.port) == ("::1", 7)
    assert isinstance(settings.metrics.address, Address)
    assert settings.metrics.address.port == 8


@pytest.mark.parametrize("text", ["[]:8", "a b:8", "http://x:8", "::1:8", "[::1:8", "user@h:1", "h:65536", "h:"])
def test_validation_of_addresses(text: str) -> None:
    """Only HOST:PORT is an address, with IPv6 in brackets."""
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        parse_address(text)
