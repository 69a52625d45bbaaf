"""One worker: a process that serves on a port which others serve too, seen from both sides."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import structlog

from embedwire_server import lifetime, logs
from embedwire_server.app import App
from embedwire_server.settings import Settings

log = structlog.get_logger(__name__)

_SPAWN = multiprocessing.get_context("spawn")  # gRPC and its threads do not survive a fork


class _Report(NamedTuple):
    """What a worker tells once: where its metrics are, or why it does not start."""

    metrics_url: str = ""
    fault: str = ""


class Worker:
    """A worker as the supervisor sees it; making one spawns it.

    Args:
        index: which one of them, from 0.
        settings: what it goes by, its own share.
        sandbox_url: the sandbox of the supervisor, if it has one.

    Raises:
        OSError: there are no more processes or files to be had.
    """

    def __init__(self, index: int, settings: Settings, sandbox_url: str | None) -> None:
        self._index = index
        self._began = time.monotonic()
        self._reports, reports = _SPAWN.Pipe(duplex=False)
        orders, self._orders = _SPAWN.Pipe(duplex=False)
        # By a pipe, not on its command line: there is a key in the settings.
        pipes = (reports, orders, _log_file())
        self._process = _SPAWN.Process(target=_work, args=(index, settings, sandbox_url, *pipes), daemon=True)
        # Ctrl-C reaches all processes of a terminal. It is for the supervisor, which tells the workers.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, before)
            for pipe in pipes:
                if pipe is not None:
                    pipe.close()
        log.info("a worker starts", worker=index, pid=self.pid)

    @property
    def pid(self) -> int | None:
        """Its process."""
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began

    async def serving(self) -> str:
        """Wait until it serves; the URL of its metrics. To be asked once.

        Raises:
            RuntimeError: it does not, and why.
        """
        await _readable(self._reports.fileno())
        with self._reports:
            try:
                report = self._reports.recv()
            except EOFError:
                report = _Report(fault=f"ended with exit status {await self.ended()}")
        if report.fault:
            raise RuntimeError(f"worker {self._index}: {report.fault}")
        return str(report.metrics_url)

    async def ended(self) -> int:
        """Wait until it has ended; its exit status, negative if it was a signal."""
        await _readable(self._process.sentinel)
        self._process.join()
        return self._process.exitcode or 0

    def reload(self, settings: Settings | None) -> None:
        """Let it go by these settings, its own share; one that ends meanwhile does not mind."""
        with contextlib.suppress(OSError):
            self._orders.send(settings)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; none if it has ended."""
        if self._process.is_alive() and self.pid is not None:
            os.kill(self.pid, number)


def _log_file() -> "Connection[Any, Any] | None":
    """What the log is written to, to be handed to a worker: descriptor 2 is a pipe that this process reads."""
    file = logs.descriptor()
    return None if file is None else Connection(os.dup(file), readable=False)


async def _readable(file: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(file, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(file)


def _work(  # noqa: PLR0913, PLR0917 - what a process is given
    index: int,
    settings: Settings,
    sandbox_url: str | None,
    reports: "Connection[_Report, _Report]",
    orders: "Connection[Settings | None, Settings | None]",
    log_file: "Connection[Any, Any] | None",
) -> None:
    """Be a worker until SIGTERM; repeated ones change nothing, since systemd sends it to the workers as well."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the same; the supervisor tells what has changed
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    file = None if log_file is None else log_file.fileno()
    logs.configure(settings.log_level, settings.log_format, file, worker=index)

    @contextlib.asynccontextmanager
    async def serving() -> AsyncGenerator[None]:
        async with App(settings, sandbox_url=sandbox_url, shares_port=True) as app:
            reports.send(_Report(metrics_url=app.metrics_url))
            reports.close()
            loop = asyncio.get_running_loop()
            loop.add_reader(orders.fileno(), lambda: app.reload(orders.recv()))
            try:
                yield
            finally:
                loop.remove_reader(orders.fileno())

    try:
        lifetime.run(serving(), [signal.SIGTERM], then=signal.SIG_IGN)
    except lifetime.NotStarted as error:
        reports.send(_Report(fault=str(error)))
        sys.exit(1)


def _end_with_supervisor() -> None:
    """However the supervisor ends, also by SIGKILL: no worker is left behind that holds the port."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        supervisor.join()
        os._exit(1)
