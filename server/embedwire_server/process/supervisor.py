"""The server as several processes on one port: a supervisor, and workers that each are a whole server.

The supervisor reserves the port, runs the sandbox if there is to be one, spawns the workers, kills those that hang,
starts again those that end, replaces those that are too old or too large, and drains all. It takes no calls itself.
Workers share nothing but the port, the sandbox and what is configured for all, of which each has its share.
"""

import asyncio
import collections
import contextlib
import signal
import socket
from collections.abc import Coroutine, Mapping
from typing import Any, Self

import structlog

from embedwire_server.assembly import embedded_sandbox
from embedwire_server.config.settings import MIB, Settings
from embedwire_server.core.address import Address
from embedwire_server.process.worker import START_TIMEOUT, Timeouts, Worker

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0  # seconds until a worker that ended is started again, doubled each time
STEADY_SECONDS = 60.0  # a worker that ran so long starts again with the first pause
STOP_SECONDS = 6.0  # that a worker may need to stop beside the drain delay and the grace period


class Supervisor:
    """Keeps `settings.workers` workers. `async with Supervisor(settings)` starts them; leaving drains and stops all.

    Args:
        settings: what holds for all workers together.
        start_timeout: seconds until a worker without a heartbeat counts as hung in its start.
    """

    def __init__(self, settings: Settings, start_timeout: float = START_TIMEOUT) -> None:
        self._settings = settings
        self._is_current = True  # whether no later settings were refused
        self._timeouts = Timeouts(settings.worker_timeout, start_timeout)
        self._sandbox_url: str | None = None
        self._workers: list[Worker] = []
        self._others: set[Worker] = set()  # successors that do not serve yet, and workers that drain for them
        self._replacements: list[collections.Counter[str]] = [collections.Counter() for _ in range(settings.workers)]
        # One at a time: memory for one more worker suffices, and no capacity is missing.
        self._none_is_replaced = asyncio.Event()
        self._none_is_replaced.set()
        self._tasks: set[asyncio.Task[None]] = set()
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
        self._is_current = settings is not None
        if settings is not None:
            self._settings = settings.model_copy(update={"listen": self._settings.listen})
        for worker in self._all():
            self._renew(worker)

    def _renew(self, worker: Worker) -> None:
        worker.reload(self._settings.for_worker(worker.index) if self._is_current else None)

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
            self._workers.append(await self._spawn(index, self._replacements[index]))
        metrics = [await worker.serving() for worker in self._workers]
        for index in range(len(self._workers)):
            self._run(self._keep(index))
        name = self._settings.upstream_name
        log.info("serving", target=target, metrics=metrics, upstream=name, workers=len(self._workers))

    async def _spawn(self, index: int, replacements: Mapping[str, int], *, has_metrics: bool = True) -> Worker:
        settings = self._settings.for_worker(index)
        worker = await Worker.spawn(
            index, settings, self._sandbox_url, self._timeouts, replacements, has_metrics=has_metrics
        )
        self._renew(worker)  # there may be later settings by now, or some that were refused
        return worker

    async def _watch(self) -> None:
        """Kill workers that hang, also while they start and while they drain."""
        while True:
            await asyncio.sleep(self._timeouts.heartbeat)
            for worker in self._all():
                worker.check()

    def _all(self) -> list[Worker]:
        return [*self._workers, *self._others]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, index: int) -> None:
        """Replace a worker whenever it has expired, and start it again when it has ended, ever later if it fails."""
        pause = FIRST_PAUSE
        while True:
            worker = self._workers[index]
            reason: str | int = await _first(worker.ended(), self._turn(worker))
            if isinstance(reason, str) and not self._none_is_replaced.is_set():
                continue  # another one was faster
            if worker.age > STEADY_SECONDS:
                pause = FIRST_PAUSE
            try:
                if isinstance(reason, str):
                    await self._replace(index, worker, reason)
                else:
                    await self._start_again(index, worker, reason, pause)
            except (OSError, RuntimeError) as error:
                log.error("a worker does not start", worker=index, fault=str(error))  # noqa: TRY400 - the text says all
            if isinstance(reason, str):
                await _first(self._workers[index].ended(), asyncio.sleep(pause))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _turn(self, worker: Worker) -> str:
        """Wait until the worker is to be replaced, and no other one is; return the reason."""
        reason = await worker.expired()
        await self._none_is_replaced.wait()
        return reason

    async def _start_again(self, index: int, worker: Worker, status: int, pause: float) -> None:
        log.error("a worker has ended", worker=index, pid=worker.pid, exit_status=status, starts_again_in=pause)
        await asyncio.sleep(pause)
        replacements = self._replacements[index] + collections.Counter(["hung" if worker.is_killed else "ended"])
        self._workers[index] = await self._spawn(index, replacements)
        self._replacements[index] = replacements
        await self._workers[index].serving()

    async def _replace(self, index: int, worker: Worker, reason: str) -> None:
        """Start a successor; once it serves, let the worker drain, which is not waited for."""
        self._none_is_replaced.clear()
        memory, age = worker.memory // MIB, round(worker.age)
        log.info("a worker is replaced", worker=index, pid=worker.pid, reason=reason, memory_mib=memory, age=age)
        if reason == "memory" and worker.age < STEADY_SECONDS:
            limit = self._settings.worker_max_memory
            log.warning("a new worker exceeds its memory: the limit may be too low", worker=index, limit_mib=limit)
        replacements = self._replacements[index] + collections.Counter([reason])
        try:
            successor = await self._successor(index, replacements)
        except (OSError, RuntimeError):
            self._none_is_replaced.set()
            raise
        self._workers[index], self._replacements[index] = successor, replacements
        self._others.add(worker)
        await worker.retire()
        successor.serve_metrics()
        self._run(self._drained(index, worker))

    async def _successor(self, index: int, replacements: Mapping[str, int]) -> Worker:
        """Start one and wait until it serves.

        Raises:
            OSError, RuntimeError: it does not start; it has ended.
        """
        successor = await self._spawn(index, replacements, has_metrics=False)
        self._others.add(successor)
        try:
            await successor.serving()
        except RuntimeError:
            await successor.ended()
            self._others.discard(successor)
            raise
        self._others.discard(successor)
        return successor

    async def _drained(self, index: int, worker: Worker) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.ended(), self._settings.grace + STOP_SECONDS)
        worker.kill("did not stop within the grace period")
        status = await worker.ended()
        self._others.discard(worker)
        self._none_is_replaced.set()
        log.info("a worker has been replaced", worker=index, pid=worker.pid, exit_status=status)

    async def _end(self, error: type[BaseException] | None, *_: object) -> None:
        """End the workers: in good order, or at once if the server did not start. The time is bounded in any case."""
        number = signal.SIGTERM if error is None or issubclass(error, asyncio.CancelledError) else signal.SIGKILL
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        workers = self._all()
        for worker in workers:
            worker.send(number)
        ending = [asyncio.create_task(worker.ended()) for worker in workers]
        if ending:
            await asyncio.wait(ending, timeout=self._settings.drain_delay + self._settings.grace + STOP_SECONDS)
        for worker in workers:
            worker.kill("did not stop within the drain delay and the grace period")
        await asyncio.gather(*ending)


async def _first(*waited: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what they return
    """What ends first; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in waited]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return next(task for task in tasks if task in done).result()


def reserved(address: Address) -> socket.socket:
    """Hold a port for the workers to listen on, and for no other process; port 0 takes a free one.

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
