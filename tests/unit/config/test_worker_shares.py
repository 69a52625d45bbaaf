"""Division of the limits among several workers."""

from typing import Any

import pytest

from embedwire_server.config.per_worker import worker_share
from embedwire_server.config.setting_table import ALL, SHARED
from tests.unit.config.support import faults, load

LIMITS = [setting.name for setting in SHARED]


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("name", LIMITS)
def test_shares_of_workers(name: str, workers: int) -> None:
    """Limits for all calls are divided: the shares add up to the limit and differ by at most one."""
    settings = load(workers=workers, request_limits_message_bytes=1, **{name: 64})
    shares = [ALL[name].of(worker_share(settings, index)) for index in range(workers)]
    assert sum(shares) == 64
    assert max(shares) - min(shares) <= 1


@pytest.mark.usefixtures("key")
def test_settings_that_are_not_divided() -> None:
    """Other settings, also rate limits, are the same for each worker; each has a metrics port of its own."""
    settings = load(workers=3, metrics_listen="[::1]:9464")
    found = [worker_share(settings, index) for index in range(3)]
    assert [one.metrics.listen for one in found] == ["[::1]:9464", "[::1]:9465", "[::1]:9466"]
    for setting in ALL.values():
        if setting.name not in {*LIMITS, "metrics_listen"}:
            assert [setting.of(one) for one in found] == [setting.of(settings)] * 3


def test_free_ports_for_the_metrics_of_workers() -> None:
    """Metrics port 0 stays 0 for each worker."""
    settings = load(workers=2, metrics_listen="127.0.0.1:0")
    assert [worker_share(settings, index).metrics.address.port for index in range(2)] == [0, 0]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(
            {"workers": 5, "rate_limits_audio_requests_per_day": 4},
            "must be at least 5, the number of workers of all replicas",
            id="rate limit",
        ),
        pytest.param(
            {
                "workers": 2,
                "quota_store": "redis://localhost",
                "quota_replicas": 3,
                "rate_limits_text_requests_per_minute": 5,
            },
            "must be at least 6, the number of workers of all replicas",
            id="rate limit of replicas",
        ),
        pytest.param(
            {"workers": 3, "concurrency_inputs_per_modality": 2},
            "at most 2: concurrency.inputs_per_modality",
            id="in flight",
        ),
        pytest.param(
            {"workers": 17}, "divided by --workers (17) must be at least request_limits.message_bytes", id="content"
        ),
        pytest.param(
            {"workers": 3, "metrics_listen": "[::1]:65534"}, "65534 to 65536 exceed 65535", id="metrics ports"
        ),
    ],
)
def test_too_many_workers(flags: dict[str, Any], said: str) -> None:
    """A limit that is too small for a share of each worker is refused by its name."""
    (message,) = faults(**flags).values()
    assert said in message


def test_smallest_limits_for_workers() -> None:
    """One unit of each limit per worker is accepted, and a queue of 0 as well."""
    flags = {
        "concurrency_inputs_per_modality": 2,
        "rate_limits_text_requests_per_minute": 2,
        "concurrency_max_buffered_bytes": 32 << 20,
        "concurrency_queue_per_modality": 0,
    }
    assert worker_share(load(workers=2, metrics_listen="[::1]:65534", **flags), 1).metrics.address.port == 65535
