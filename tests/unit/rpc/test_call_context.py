"""The caller's identity from gRPC's name of the peer."""

import pytest

from embedwire_server.rpc.call_context import caller_of


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:[fe80::1%25eth0]:80", "fe80::1%eth0"),
        ("unix:/run/embedwire.sock", "unix"),
        ("unix:", "unix"),
        ("", ""),
    ],
)
def test_host_and_connection(peer: str, host: str) -> None:
    """The host has no port, so that all connections of one host share it."""
    assert caller_of(peer) == (host, peer)
