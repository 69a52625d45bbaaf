"""Structured concurrency: coroutines that run concurrently and end together."""

import asyncio
from collections.abc import Coroutine

from embedwire_server.core.cancellation import cancellation_requested
from embedwire_server.observability.exception_logging import log_unexpected


async def run_together(*coroutines: Coroutine[object, object, None]) -> None:
    """Run each coroutine in a task of its own until all have returned.

    If one raises, the others are cancelled. All have ended before this returns or raises, unless it is cancelled twice:
    a second cancellation does not wait for them.

    Raises:
        BaseException: the first that one of them raised. Unlike `asyncio.TaskGroup`, it is raised as it is. A
            CancelledError that leaked from a library becomes an InternalError, so that it ends the others as well.
    """
    tasks = [asyncio.create_task(_run(coroutine)) for coroutine in coroutines]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # asyncio logs exceptions that were not retrieved
    for task in tasks:
        if task in ended:
            task.result()


async def _run(coroutine: Coroutine[object, object, None]) -> None:
    try:
        await coroutine
    except asyncio.CancelledError as error:
        if cancellation_requested():
            raise
        raise log_unexpected(error) from error
