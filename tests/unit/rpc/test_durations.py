"""Conversion of seconds to durations."""

import pytest

from embedwire_server.rpc import durations


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param(0.0, (0, 0), id="zero"),
        pytest.param(1e-9, (0, 0), id="below a microsecond"),
        pytest.param(0.000001, (0, 1000), id="a microsecond"),
        pytest.param(1.5, (1, 500_000_000), id="fraction"),
        pytest.param(86400.0, (86400, 0), id="a day"),
        pytest.param(1e300, (315_576_000_000, 0), id="beyond the range of Duration"),
        pytest.param(float("inf"), (315_576_000_000, 0), id="for ever"),
    ],
)
def test_duration(seconds: float, expected: tuple[int, int]) -> None:
    """Any number of seconds becomes a valid Duration."""
    message = durations.of(seconds)
    assert (message.seconds, message.nanos) == expected
    assert message.ToJsonString()
