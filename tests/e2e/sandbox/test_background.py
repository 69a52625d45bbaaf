"""The thread pool of the sandbox."""

import asyncio
import gc
import threading

import pytest

from embedwire_sandbox.media.background import Stop, Threads


async def test_work_that_stops_leaves_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """If the caller is cancelled, the exception that ends its work is not logged."""
    stop, has_begun, threads = Stop(), threading.Event(), Threads(1)

    def work() -> None:
        has_begun.set()
        while True:
            stop.check()

    task = asyncio.create_task(threads.run(work, stop))
    await asyncio.to_thread(has_begun.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    threads.close()
    del task
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()
    assert caplog.records == []
