"""Worker process, as seen by the supervisor; `worker_main` is the code that runs in it.

The event loop of the worker sends heartbeats. A worker without heartbeats is hung, whatever the reason: stopped by a
signal, blocked in Python or in C code, or stuck while it starts or ends.
"""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.process
import os
import signal
import socket
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import structlog

from embedwire_server.config.settings import Settings
from embedwire_server.observability import logs
from embedwire_server.policies.rate_limit.local_store import LocalQuotaStore
from embedwire_server.process import worker_main
from embedwire_server.process.quota_server import QuotaServer
from embedwire_server.process.worker_channel import Channel
from embedwire_server.process.worker_lifespan import Lifespan, Timeouts
from embedwire_server.process.worker_messages import Heartbeat, Report, Retire, Retired, ServeMetrics, Start

log = structlog.get_logger(__name__)

_SPAWN = multiprocessing.get_context("spawn")  # gRPC and its threads do not survive a fork
_POLL_SECONDS = 0.02
_RETIRE_SECONDS = 5.0  # for a worker to close two ports


class Common(NamedTuple):
    """What all workers have in common.

    Attributes:
        timeouts: when a worker counts as hung.
        sandbox_url: URL of the supervisor's sandbox, if there is one.
        quota: usage of the rate limits by all workers.
    """

    timeouts: Timeouts
    sandbox_url: str | None
    quota: LocalQuotaStore


class Worker:
    """A worker process; `spawn` starts it."""

    def __init__(
        self,
        index: int,
        channel: Channel,
        process: multiprocessing.process.BaseProcess,
        common: Common,
        lifespan: Lifespan,
    ) -> None:
        self.index = index
        self._channel = channel
        self._quota = QuotaServer(common.quota, channel)
        self._process = process
        self._began = time.monotonic()
        self._timeouts = common.timeouts
        self._silent_intervals = 0
        self._has_begun = False
        self._lifespan = lifespan
        self._expiry: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._retired = asyncio.Event()
        self.memory = 0
        self.is_killed = False
        self._report: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._ending = asyncio.create_task(self._follow())

    @classmethod
    async def spawn(
        cls,
        index: int,
        settings: Settings,
        common: Common,
        replacements: Mapping[str, int],
        *,
        has_metrics: bool = True,
    ) -> "Worker":
        """Start a process; `serving` waits until it serves.

        Args:
            index: its number, from 0.
            settings: its share of the settings.
            common: what all workers have.
            replacements: how many workers it has replaced, by the reason.
            has_metrics: whether it serves its metrics from the start, and not only after `serve_metrics`.

        Raises:
            OSError: the system has no more processes or file descriptors.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            channel = await Channel.open(ours)
            try:
                process = _spawned(index, theirs)
            except OSError:
                await channel.aclose()
                raise
        channel.send(Start(settings, common.sandbox_url, common.timeouts.heartbeat, replacements, has_metrics))
        log.info("a worker starts", worker=index, pid=process.pid)
        return cls(index, channel, process, common, Lifespan.of(settings))

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since the spawn."""
        return time.monotonic() - self._began

    async def serving(self) -> str:
        """Wait until it serves; return the URL of its metrics.

        Raises:
            RuntimeError: it does not start; the message is the reason.
        """
        report = await asyncio.shield(self._report)
        if report.fault:
            raise RuntimeError(f"worker {self.index}: {report.fault}")
        return report.metrics_url

    async def ended(self) -> int:
        """Wait until the process has ended; return its exit status, negative for a signal."""
        return await asyncio.shield(self._ending)

    async def expired(self) -> str:
        """Wait until it is to be replaced; return the reason."""
        return await asyncio.shield(self._expiry)

    async def retire(self) -> None:
        """Ask it to drain; return once its ports are free for its successor, or after some seconds."""
        self._channel.send(Retire())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._retired.wait(), _RETIRE_SECONDS)

    def serve_metrics(self) -> None:
        """Ask it to serve its metrics."""
        self._channel.send(ServeMetrics())

    def reload(self, settings: Settings | None) -> None:
        """Send it its share of new settings; see `App.reload`. Never waits for the worker."""
        self._channel.send(settings)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._process.is_alive() and self.pid is not None:
            os.kill(self.pid, number)

    def check(self) -> None:
        """Kill the process if it is hung, and note if it has expired; call this once in every heartbeat interval.

        It counts its calls instead of reading a clock. When the supervisor, or the whole machine, resumes after a
        suspension, the clock has moved on, but only one more call follows: no worker times out for that reason.
        """
        self._silent_intervals += 1
        silence = self._silent_intervals * self._timeouts.heartbeat
        if self._has_begun and silence > self._timeouts.silence:
            self.kill(f"no heartbeat for {self._timeouts.silence:g} s")
        elif not self._has_begun and silence > self._timeouts.start:
            self.kill(f"did not start within {self._timeouts.start:g} s")
        if not self._expiry.done() and (reason := self._reason_to_replace()):
            self._expiry.set_result(reason)

    def kill(self, reason: str) -> None:
        """Kill the process with SIGKILL: a stopped process does not act on SIGTERM."""
        if self.is_killed or not self._process.is_alive():
            return
        self.is_killed = True
        log.error("a hung worker is killed", worker=self.index, pid=self.pid, reason=reason)
        self._report_once(Report(fault=reason))
        self.send(signal.SIGKILL)

    async def _follow(self) -> int:
        """Read messages until the process has ended; return its exit status."""
        with contextlib.suppress(EOFError):
            while True:
                message = await self._channel.receive()
                self._silent_intervals, self._has_begun = 0, True
                if isinstance(message, Report):
                    self._report_once(message)
                elif isinstance(message, Heartbeat):
                    self.memory = message.memory
                elif isinstance(message, Retired):
                    self._retired.set()
                else:
                    await self._quota.handle(message)
        await self._quota.release()
        self._retired.set()
        await self._channel.aclose()
        while (status := self._process.exitcode) is None:  # noqa: ASYNC110 - join blocks on one that hangs at its exit
            await asyncio.sleep(_POLL_SECONDS)
        self._report_once(Report(fault=f"ended with exit status {status}"))
        return status

    def _reason_to_replace(self) -> str:
        if self.memory > self._lifespan.memory:
            return "memory"
        return "age" if self.age > self._lifespan.age else ""

    def _report_once(self, report: Report) -> None:
        if not self._report.done():
            self._report.set_result(report)


def _log_file() -> "Connection[Any, Any] | None":
    """Duplicate the descriptor of the log for a worker: descriptor 2 is a pipe that this process reads."""
    file = logs.descriptor()
    return None if file is None else Connection(os.dup(file), readable=False)


def _spawned(index: int, end: socket.socket) -> multiprocessing.process.BaseProcess:
    log_file = _log_file()
    process = _SPAWN.Process(target=worker_main.run, args=(index, end, log_file), daemon=True)
    # Ctrl-C reaches all processes of a terminal. It is for the supervisor, which signals the workers.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
        if log_file is not None:
            log_file.close()
    return process
