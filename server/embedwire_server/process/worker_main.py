"""Entry point of a worker process: a complete server, controlled by the supervisor's messages."""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncGenerator, Coroutine
from multiprocessing.connection import Connection
from typing import Any

import structlog

from embedwire_server.app import App
from embedwire_server.config.settings import Settings
from embedwire_server.observability import logs
from embedwire_server.observability.resource_monitor import resident_memory
from embedwire_server.process import runner
from embedwire_server.process.worker_channel import Channel
from embedwire_server.process.worker_messages import (
    Heartbeat,
    LeaseReply,
    Report,
    Retire,
    Retired,
    ServeMetrics,
    Start,
)
from embedwire_server.process.worker_quota import SupervisorQuotaStore

log = structlog.get_logger(__name__)

_PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


def run(index: int, end: socket.socket, log_file: "Connection[Any, Any] | None") -> None:
    """Run a worker until SIGTERM; further ones are ignored, since systemd sends it to the workers as well."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as with SIGTERM; the supervisor sends the new settings
    _end_with_supervisor()
    file = None if log_file is None else log_file.fileno()
    try:
        runner.run(_serving(index, end, file), [signal.SIGTERM], then=signal.SIG_IGN)
    except runner.StartupError:
        sys.exit(1)


@contextlib.asynccontextmanager
async def _serving(index: int, end: socket.socket, log_file: int | None) -> AsyncGenerator[None]:
    async with contextlib.AsyncExitStack() as stack:
        channel = await Channel.open(end)
        stack.push_async_callback(channel.aclose)
        start = await channel.receive()
        if not isinstance(start, Start):
            raise TypeError("the first message is not Start")
        logs.configure(start.settings.log.level, start.settings.log.format, log_file, worker=index)
        _run_beside(stack, _send_heartbeats(channel, start.heartbeat))
        quota = SupervisorQuotaStore(channel)
        app = App(
            start.settings,
            sandbox_url=start.sandbox_url,
            shares_port=True,
            has_metrics=start.has_metrics,
            replacements=start.replacements,
            quota_store=quota if start.settings.quota.store is None else None,
        )
        others = asyncio.Queue[object]()
        _run_beside(stack, _receive(channel, quota, others))  # also during the start and the drain
        try:
            await stack.enter_async_context(app)
        except (OSError, RuntimeError) as error:
            channel.send(Report(fault=runner.reason_of(error)))
            raise
        channel.send(Report(metrics_url=app.metrics_url))
        _run_beside(stack, _handle_messages(others, channel, app))
        yield


def _run_beside(stack: contextlib.AsyncExitStack, work: Coroutine[None, None, None]) -> None:
    stack.callback(asyncio.create_task(work).cancel)


async def _send_heartbeats(channel: Channel, interval: float) -> None:
    while True:
        if channel.has_room:  # else heartbeats fill the memory while the supervisor is stopped
            channel.send(Heartbeat(resident_memory()))
        await asyncio.sleep(interval)


async def _receive(channel: Channel, quota: SupervisorQuotaStore, others: asyncio.Queue[object]) -> None:
    """Receive the supervisor's messages; pass those for the quota store on immediately."""
    with contextlib.suppress(EOFError):
        while True:
            message = await channel.receive()
            if isinstance(message, LeaseReply):
                quota.receive(message)
            else:
                others.put_nowait(message)


async def _handle_messages(messages: asyncio.Queue[object], channel: Channel, app: App) -> None:
    """Handle the supervisor's other messages while the server runs.

    Reloads and the start of the metrics run as callbacks of the event loop: an exception is logged and does not end
    this.
    """
    loop = asyncio.get_running_loop()
    while True:
        message = await messages.get()
        if message is None or isinstance(message, Settings):
            loop.call_soon(app.reload, message)
        elif isinstance(message, ServeMetrics):
            loop.call_soon(_serve_metrics, app)
        elif isinstance(message, Retire):
            await _retire(channel, app)


async def _retire(channel: Channel, app: App) -> None:
    try:
        await app.retire()
    finally:
        channel.send(Retired())
        signal.raise_signal(signal.SIGTERM)


def _serve_metrics(app: App, pause: float = 0.02) -> None:
    """Serve the metrics as soon as their port is free, unless a successor is to have it."""
    if app.is_retired:
        return
    try:
        app.serve_metrics()
    except OSError as error:
        if pause > 1.0:
            log.error("the metrics cannot be served; retrying", fault=runner.reason_of(error))  # noqa: TRY400 - the text says all
        asyncio.get_running_loop().call_later(pause, _serve_metrics, app, min(2 * pause, 10.0))
    else:
        log.info("serving metrics", metrics=app.metrics_url)


def _end_with_supervisor() -> None:
    """End when the supervisor ends, also by SIGKILL: an orphaned worker would keep the port.

    On Linux the kernel does it, also if this process is stopped or blocked in C code. Elsewhere a thread does.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_after_supervisor, daemon=True).start()  # the supervisor may have ended before


def _exit_after_supervisor() -> None:
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        supervisor.join()
        os._exit(1)
