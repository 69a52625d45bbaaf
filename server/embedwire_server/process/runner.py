"""Process runner: event loop, stop signals, reload and graceful shutdown."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Generator, Sequence

import uvloop

from embedwire_server.config.file_watcher import FileWatcher
from embedwire_server.observability import logs
from embedwire_server.process import gc_tuning

Then = signal.Handlers | Callable[[int, object], None]


class StartupError(Exception):
    """The service did not start; the message is the reason."""


def run(
    service: contextlib.AbstractAsyncContextManager[object],
    stop_signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
    then: Then = signal.SIG_DFL,
    reload: Callable[[], Awaitable[None]] | None = None,
    config: FileWatcher | None = None,
) -> None:
    """Run a service until a signal, then stop it gracefully.

    Args:
        service: entering starts it, leaving stops it.
        stop_signals: the signals that stop it; during the start they cancel the start.
        then: the handler of any further stop signal; by default it ends the process immediately.
        reload: called after each SIGHUP, and each change of `config`, once the service has started; by default SIGHUP
            ends the process.
        config: watches the configuration file.

    Raises:
        StartupError: entering raised OSError or RuntimeError: a port in use, a missing extra.
    """
    gc_tuning.raise_gc_threshold()

    async def until_signal() -> None:
        asyncio.get_running_loop().set_exception_handler(logs.report_loop_exception)
        stop, changed = _stop_event(stop_signals, then), asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            if reload is not None:
                stack.enter_context(_changes(changed, config))
            if not await _started(service, stack, stop):
                return
            gc_tuning.freeze_heap()
            if reload is not None:
                reloads = asyncio.create_task(_each_time(changed, reload))
                stack.callback(reloads.cancel)
            await stop.wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_signal())


async def _started(
    service: contextlib.AbstractAsyncContextManager[object], stack: contextlib.AsyncExitStack, stop: asyncio.Event
) -> bool:
    """Enter the service; return False if a signal has cancelled that."""
    stopping = asyncio.create_task(stop.wait())
    entering = asyncio.current_task()
    assert entering is not None  # noqa: S101 - a coroutine runs in a task

    def cancel(_: asyncio.Task[bool]) -> None:
        if not stopping.cancelled():
            entering.cancel()

    stopping.add_done_callback(cancel)
    try:
        await stack.enter_async_context(service)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        entering.uncancel()
    except (OSError, RuntimeError) as error:
        if not stop.is_set():  # else the signal may have caused it, by ending workers
            raise StartupError(reason_of(error)) from error
    finally:
        stopping.remove_done_callback(cancel)
        stopping.cancel()
    return not stop.is_set()


def reason_of(error: OSError | RuntimeError) -> str:
    """Return the message, without the number of the error that Python puts before it."""
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror
    return str(error)


@contextlib.contextmanager
def _changes(changed: asyncio.Event, config: FileWatcher | None) -> Generator[None]:
    """Set the event after SIGHUP and after changes of the configuration file."""
    loop = asyncio.get_running_loop()

    def set_threadsafe() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has just been closed
            loop.call_soon_threadsafe(changed.set)

    signal.signal(signal.SIGHUP, lambda *_: set_threadsafe())  # also after the loop is closed
    with contextlib.nullcontext() if config is None else config.watching(set_threadsafe):
        yield


async def _each_time(event: asyncio.Event, do: Callable[[], Awaitable[None]]) -> None:
    while await event.wait():
        event.clear()
        await do()


def _end_at_once(number: int, _: object) -> None:
    os._exit(128 + number)


def _stop_event(stop_signals: Sequence[signal.Signals], then: Then) -> asyncio.Event:
    """Return an event that the first signal sets; from then on, `then` handles the signals.

    The handlers are Python's own, not those of the event loop: if the loop is blocked in Python code or in a system
    call, the first signal still changes what the second one does.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    if then is signal.SIG_DFL and os.getpid() == 1:  # for PID 1, as in a container, the kernel ignores the default
        then = _end_at_once

    def on_signal(_: int, __: object) -> None:
        for number in stop_signals:
            signal.signal(number, then)
        loop.call_soon_threadsafe(stop.set)

    for number in stop_signals:
        signal.signal(number, on_signal)
    return stop
