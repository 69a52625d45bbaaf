"""Distinguishes cancellation of a task from a leaked CancelledError."""

import asyncio

TIMER_SECONDS = 0.001  # a timer of the event loop may fire this much early


def cancellation_requested() -> bool:
    """Return whether the running task was cancelled; if not, a CancelledError has leaked out of a library."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
