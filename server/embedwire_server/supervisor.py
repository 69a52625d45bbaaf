"""The server as several processes on one port: a supervisor, and workers that each are a whole server.

The supervisor reserves the port, runs the sandbox if there is to be one, spawns the workers, kills those that hang,
starts again those that end, and drains all. It takes no calls itself. Workers share nothing but the port, the sandbox
and what is configured for all, of which each has its share.
"""

import asyncio
import contextlib
import signal
import socket
from typing import Self

import structlog

from embedwire_server.address import Address
from embedwire_server.app import embedded_sandbox
from embedwire_server.settings import Settings
from embedwire_server.worker import START_TIMEOUT, Timeouts, Worker

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0  # seconds until a worker that ended is started again, doubled each time
STEADY_SECONDS = 60.0  # who lasted so long starts again with the first pause
STOP_SECONDS = 6.0  # that a worker may need to stop beside the drain delay and the grace period


class Supervisor:
    """Keeps `settings.workers` workers. `async with Supervisor(settings)` starts them; leaving drains and stops all.

    Args:
        settings: what holds for all workers together.
        start_timeout: seconds until a worker without a heartbeat counts as hung in its start.
    """

    def __init__(self, settings: Settings, start_timeout: float = START_TIMEOUT) -> None:
        self._settings = settings
        self._timeouts = Timeouts(settings.worker_timeout, start_timeout)
        self._sandbox_url: str | None = None
        self._workers: list[Worker] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._resources = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start everything; when this returns, all workers serve.

        Raises:
            OSError, RuntimeError: the port is in use, or a worker does not start; nothing is left running.
        """
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._resources = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drain all workers at the same time."""
        log.info("draining", workers=len(self._workers))
        await self._resources.aclose()

    def reload(self, settings: Settings | None) -> None:
        """Let all workers go by these settings, as `App.reload` does; also those that are started later."""
        if settings is not None:
            self._settings = settings.model_copy(update={"listen": self._settings.listen})
        for index, worker in enumerate(self._workers):
            worker.reload(None if settings is None else self._settings.for_worker(index))

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        address = self._settings.listen_address
        port = stack.enter_context(reserved(address)).getsockname()[1]
        target = address.with_port(port)
        self._settings = self._settings.model_copy(update={"listen": target})
        if self._settings.upstream_url is None:
            self._sandbox_url = await stack.enter_async_context(embedded_sandbox())
        watching = asyncio.create_task(self._watch())
        stack.callback(watching.cancel)
        stack.push_async_exit(self._end)
        for index in range(self._settings.workers):
            self._workers.append(await self._spawn(index))
        metrics = [await worker.serving() for worker in self._workers]
        self._keepers = [asyncio.create_task(self._keep(index)) for index in range(len(self._workers))]
        name = self._settings.upstream_name
        log.info("serving", target=target, metrics=metrics, upstream=name, workers=len(self._workers))

    async def _spawn(self, index: int) -> Worker:
        return await Worker.spawn(index, self._settings.for_worker(index), self._sandbox_url, self._timeouts)

    async def _watch(self) -> None:
        """Kill workers that hang, also while they start and while they drain."""
        while True:
            await asyncio.sleep(self._timeouts.heartbeat)
            for worker in self._workers:
                worker.check()

    async def _keep(self, index: int) -> None:
        """Start a worker again whenever it has ended, ever later while it does not last."""
        pause = FIRST_PAUSE
        while True:
            worker = self._workers[index]
            status = await worker.ended()
            if worker.age > STEADY_SECONDS:
                pause = FIRST_PAUSE
            log.error("a worker has ended", worker=index, pid=worker.pid, exit_status=status, starts_again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                self._workers[index] = await self._spawn(index)
                await self._workers[index].serving()
            except (OSError, RuntimeError) as error:
                log.error("a worker does not start", worker=index, fault=str(error))  # noqa: TRY400 - told in full

    async def _end(self, error: type[BaseException] | None, *_: object) -> None:
        """End the workers: in good order, or at once if the server did not start. The time is bounded in any case."""
        number = signal.SIGTERM if error is None or issubclass(error, asyncio.CancelledError) else signal.SIGKILL
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for worker in self._workers:
            worker.send(number)
        ending = [asyncio.create_task(worker.ended()) for worker in self._workers]
        if ending:
            await asyncio.wait(ending, timeout=self._settings.drain_delay + self._settings.grace + STOP_SECONDS)
        for worker in self._workers:
            worker.kill("did not stop within the drain delay and the grace period")
        await asyncio.gather(*ending)


def reserved(address: Address) -> socket.socket:
    """Hold a port for workers to listen on, and for nobody else; port 0 takes a free one.

    The socket does not listen, so that it gets no connections. It is bound before it is shared: that fails if any other
    process has the port, also one that shares it, and leaves no moment in which a second supervisor could take it too.

    Raises:
        OSError: it is in use.
    """
    try:
        try:
            held = _bound(address)
        except OSError:  # for a minute, the remains of connections of a server without workers are enough for that
            held = _bound(address, socket.SO_REUSEADDR)
    except OSError as error:
        raise OSError(error.errno, f"--listen {address}: {error.strerror}") from error
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return held


def _bound(address: Address, *options: int) -> socket.socket:
    held = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        for option in options:
            held.setsockopt(socket.SOL_SOCKET, option, 1)
        held.bind((address.host, address.port))
    except OSError:
        held.close()
        raise
    return held
