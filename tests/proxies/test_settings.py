"""The time limits of the configurations are above the longest deadline that a call has by default."""

import re

import pytest

from embedwire_server.rpc.deadline import DefaultDeadlines
from tests.proxies.proxy import CONFIGURATIONS

LIMITS = {
    "nginx": ("client_body_timeout", "grpc_read_timeout", "grpc_send_timeout"),
    "haproxy": ("timeout client", "timeout server"),
    "envoy": ("stream_idle_timeout:",),
}


@pytest.mark.parametrize("name", LIMITS)
def test_time_limits_are_above_the_longest_default_deadline(name: str) -> None:
    """No proxy ends a call that keeps to its deadline."""
    text = CONFIGURATIONS[name].read_text()
    limits = {limit: int(re.search(rf"{limit} (\d+)s", text)[1]) for limit in LIMITS[name]}  # type: ignore[index]

    assert min(limits.values()) > DefaultDeadlines().audio
