"""Counters of the rate limits."""

import pytest

from embedwire_sandbox.errors import RefusalError
from embedwire_sandbox.quota import Quota


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_window() -> None:
    """A window starts with its first call and ends after its length; the next one starts at the full limit."""
    clock = Clock()
    quota = Quota({"text": 2}, 60.0, clock)
    quota.spend(["text"])
    clock.now += 30
    quota.spend(["text"])
    with pytest.raises(RefusalError) as caught:
        quota.spend(["text"])
    assert caught.value.headers == {"Retry-After": "30"}
    clock.now += 30
    quota.spend(["text"])
    assert quota.headers(["text"]) == {
        "X-Ratelimit-Limit": "2",
        "X-Ratelimit-Remaining": "1",
        "X-Ratelimit-Used": "1",
        "X-Ratelimit-Reset": "1120",
        "X-RateLimit-Request-Remaining": "1",
        "X-RateLimit-Request-Reset": "1120",
    }


def test_categories() -> None:
    """Modalities have separate counters; a call that is refused for one of them decrements none."""
    quota = Quota({"audio": 1, "text": 5}, 60.0)
    quota.spend(["text", "audio"])
    with pytest.raises(RefusalError):
        quota.spend(["text", "audio"])
    assert quota.headers(["text"])["X-Ratelimit-Used"] == "1"
    assert quota.headers(["text", "audio"])["X-Ratelimit-Remaining"] == "0"
    quota.spend(["image"])


def test_without_hint() -> None:
    """The hint and the body can be omitted, as in some replies of the upstream."""
    quota = Quota({"text": 0}, 60.0)
    with pytest.raises(RefusalError) as caught:
        quota.spend(["text"], retry_after=False, empty=True)
    assert (caught.value.headers, caught.value.body()) == ({}, b"")
