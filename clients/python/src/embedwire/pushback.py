"""The single retry of a call that the server rejected or ended in its shutdown."""

import re
import time
from typing import Any

import grpc

from embedwire.details import FailedCall, trailer

_KEY = "grpc-retry-pushback-ms"
_DELAY = re.compile(r"[0-9]{1,10}")  # milliseconds in 32 bits; a negative value means "do not retry"
_CODES = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


class PushbackRetry:
    """Retry of a call after the delay in `grpc-retry-pushback-ms`, within the deadline of the first attempt.

    The server sends the delay if it rejected a call or ended it in its shutdown. The retries of gRPC are not used: they
    also retry a call whose connection broke while the server processed it, and with grpcio 1.85 a synchronous stream
    hangs beyond its deadline if the second attempt finds no server.

    Args:
        arguments: keyword arguments of the gRPC call.
        max_attempts: maximum number of attempts, including the first one.
    """

    def __init__(self, arguments: dict[str, Any], max_attempts: int) -> None:
        self._arguments = arguments
        self._deadline = time.monotonic() + arguments["timeout"]
        self._remaining_attempts = max_attempts - 1

    def call_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the next attempt, with the remaining time as its timeout."""
        return self._arguments | {"timeout": max(0.0, self._deadline - time.monotonic())}

    def delay(self, error: FailedCall) -> float | None:
        """Return the seconds until the next attempt; None if there is none. Counts the attempt."""
        seconds = pushback_delay(error)
        if seconds is None or self._remaining_attempts < 1 or time.monotonic() + seconds >= self._deadline:
            return None
        self._remaining_attempts -= 1
        return seconds


def pushback_delay(call: FailedCall) -> float | None:
    """Return the retry delay that the server requests, in seconds; None if the call is not to be retried."""
    value_ms = trailer(call, _KEY) or ""
    return int(value_ms) / 1000 if call.code() in _CODES and _DELAY.fullmatch(value_ms) else None
