"""Why a task is cancelled: a leaked CancelledError, a deadline, or a caller that has left."""

import asyncio

# Callers' own timers begin earlier than the server's, when they send the call: as a fraction of the time until the
# deadline, and at most in seconds.
_LEAD, _LONGEST_LEAD = 0.1, 1.0
_ROUNDING = 0.01  # gRPC sends long deadlines in few digits, rounded up


def cancellation_requested() -> bool:
    """Return whether the running task was cancelled; if not, a CancelledError has leaked out of a library."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def lead_of_caller(seconds: float) -> float:
    """Return by how many seconds a caller's own timer may fire earlier, for a deadline in `seconds`."""
    return min(_LEAD * seconds, _LONGEST_LEAD)


def is_expired(began: float, deadline: float) -> bool:
    """Return whether a call that ends now has reached its deadline, also if its caller's own timer has fired first.

    Args:
        began: when the call began, by the event loop's clock.
        deadline: its deadline, by the same clock.
    """
    seconds = max(0.0, deadline - began)
    return asyncio.get_running_loop().time() >= deadline - lead_of_caller(seconds) - _ROUNDING * seconds
