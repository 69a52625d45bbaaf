"""Supervisor process: runs several worker processes on one port, each a complete server.

The supervisor reserves the port, runs the sandbox if it is configured, spawns the workers, kills those that hang,
restarts those that end, replaces those that are too old or too large, and drains all. It takes no calls itself.
Workers share the port, the sandbox, and the rate limits, whose usage the supervisor keeps. Of the other limits, each
has its share.
"""

import asyncio
import collections
import contextlib
import signal
from collections.abc import Coroutine, Mapping
from typing import Any, Self

import structlog

from embedwire_server.assembly import embedded_sandbox
from embedwire_server.config.fields import MIB
from embedwire_server.config.per_worker import worker_share
from embedwire_server.config.setting_table import changed
from embedwire_server.config.settings import Settings
from embedwire_server.policies.rate_limit.local_store import LocalQuotaStore
from embedwire_server.process.port_reservation import reserve_port
from embedwire_server.process.worker import Common, Worker
from embedwire_server.process.worker_lifespan import START_TIMEOUT, Timeouts

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0  # seconds until an ended worker is restarted, doubled each time
STEADY_SECONDS = 60.0  # a worker that ran this long is restarted with the first pause
STOP_SECONDS = 6.0  # for a worker to stop, beside the shutdown delay and the grace period


class Supervisor:
    """Keeps `settings.workers.count` workers running. `async with Supervisor(settings)` starts them; leaving stops all.

    Args:
        settings: the settings of all workers together.
        start_timeout: seconds until a worker without a heartbeat counts as hung in its start.
    """

    def __init__(self, settings: Settings, start_timeout: float = START_TIMEOUT) -> None:
        self._settings = settings
        self._is_current = True  # False after a reload with invalid settings
        self._timeouts = Timeouts(settings.workers.timeout, start_timeout)
        self._sandbox_url: str | None = None
        self._quota = LocalQuotaStore()
        self._workers: list[Worker] = []
        self._others: set[Worker] = set()  # successors that do not serve yet, and workers that drain for them
        self._replacements: list[collections.Counter[str]] = [
            collections.Counter() for _ in range(settings.workers.count)
        ]
        # One replacement at a time, so that memory for one more worker suffices.
        self._no_replacement = asyncio.Event()
        self._no_replacement.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resources = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start everything; on return, all workers serve.

        Raises:
            OSError, RuntimeError: the port is in use, or a worker has failed to start; nothing is left running.
        """
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._resources = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drain all workers concurrently."""
        log.info("draining", workers=len(self._workers))
        await self._resources.aclose()

    def reload(self, settings: Settings | None) -> None:
        """Send new settings to all workers, also to those that are started later; see `App.reload`."""
        self._is_current = settings is not None
        if settings is not None:
            self._settings = changed(settings, {"listen": self._settings.server.listen})
        for worker in self._all():
            self._renew(worker)

    def _renew(self, worker: Worker) -> None:
        worker.reload(worker_share(self._settings, worker.index) if self._is_current else None)

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        address = self._settings.server.address
        port = stack.enter_context(reserve_port(address)).getsockname()[1]
        target = address.with_port(port)
        self._settings = changed(self._settings, {"listen": target})
        if self._settings.upstream.base_url is None:
            self._sandbox_url = await stack.enter_async_context(embedded_sandbox())
        watching = asyncio.create_task(self._watch())
        stack.callback(watching.cancel)
        stack.push_async_exit(self._end)
        for index in range(self._settings.workers.count):
            self._workers.append(await self._spawn(index, self._replacements[index]))
        metrics = [await worker.serving() for worker in self._workers]
        for index in range(len(self._workers)):
            self._run(self._keep(index))
        name = self._settings.upstream.name
        log.info("serving", target=target, metrics=metrics, upstream=name, workers=len(self._workers))

    async def _spawn(self, index: int, replacements: Mapping[str, int], *, has_metrics: bool = True) -> Worker:
        settings = worker_share(self._settings, index)
        common = Common(self._timeouts, self._sandbox_url, self._quota)
        worker = await Worker.spawn(index, settings, common, replacements, has_metrics=has_metrics)
        self._renew(worker)  # the settings may have changed during the spawn
        return worker

    async def _watch(self) -> None:
        """Kill hung workers, also while they start and while they drain."""
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
        """Replace a worker when it has expired, restart it when it has ended, with exponential backoff if it fails."""
        pause = FIRST_PAUSE
        while True:
            worker = self._workers[index]
            reason: str | int = await _first(worker.ended(), self._wait_to_replace(worker))
            if isinstance(reason, str) and not self._no_replacement.is_set():
                continue  # another worker is replaced first
            if worker.age > STEADY_SECONDS:
                pause = FIRST_PAUSE
            try:
                if isinstance(reason, str):
                    await self._replace(index, worker, reason)
                else:
                    await self._start_again(index, worker, reason, pause)
            except (OSError, RuntimeError) as error:
                log.error("a worker has failed to start", worker=index, fault=str(error))  # noqa: TRY400 - the text says all
            if isinstance(reason, str):
                await _first(self._workers[index].ended(), asyncio.sleep(pause))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _wait_to_replace(self, worker: Worker) -> str:
        """Wait until the worker is to be replaced, and no other one is being replaced; return the reason."""
        reason = await worker.expired()
        await self._no_replacement.wait()
        return reason

    async def _start_again(self, index: int, worker: Worker, status: int, pause: float) -> None:
        log.error(
            "a worker has exited unexpectedly", worker=index, pid=worker.pid, exit_status=status, starts_again_in=pause
        )
        await asyncio.sleep(pause)
        replacements = self._replacements[index] + collections.Counter(["hung" if worker.is_killed else "ended"])
        self._workers[index] = await self._spawn(index, replacements)
        self._replacements[index] = replacements
        await self._workers[index].serving()

    async def _replace(self, index: int, worker: Worker, reason: str) -> None:
        """Start a successor; once it serves, let the worker drain in the background."""
        self._no_replacement.clear()
        memory, age = worker.memory // MIB, round(worker.age)
        log.info("a worker is replaced", worker=index, pid=worker.pid, reason=reason, memory_mib=memory, age=age)
        if reason == "memory" and worker.age < STEADY_SECONDS:
            limit = self._settings.workers.max_memory
            log.warning(
                "a new worker already exceeds workers.max_memory: the limit may be too low",
                worker=index,
                limit_mib=limit,
            )
        replacements = self._replacements[index] + collections.Counter([reason])
        try:
            successor = await self._successor(index, replacements)
        except (OSError, RuntimeError):
            self._no_replacement.set()
            raise
        self._workers[index], self._replacements[index] = successor, replacements
        self._others.add(worker)
        await worker.retire()
        successor.serve_metrics()
        self._run(self._drained(index, worker))

    async def _successor(self, index: int, replacements: Mapping[str, int]) -> Worker:
        """Start a successor, and wait until it serves.

        Raises:
            OSError, RuntimeError: it does not start, and its process has ended.
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
            await asyncio.wait_for(worker.ended(), self._settings.shutdown.grace_period + STOP_SECONDS)
        worker.kill("did not stop within the grace period")
        status = await worker.ended()
        self._others.discard(worker)
        self._no_replacement.set()
        log.info("a replaced worker has exited", worker=index, pid=worker.pid, exit_status=status)

    async def _end(self, error: type[BaseException] | None, *_: object) -> None:
        """Stop the workers: gracefully, or immediately if the server did not start. The time is bounded in any case."""
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
            await asyncio.wait(
                ending, timeout=self._settings.shutdown.delay + self._settings.shutdown.grace_period + STOP_SECONDS
            )
        for worker in workers:
            worker.kill("did not stop within the shutdown delay and the grace period")
        await asyncio.gather(*ending)


async def _first(*waited: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what they return
    """Return the result of the coroutine that ends first; cancel the others."""
    tasks = [asyncio.ensure_future(one) for one in waited]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return next(task for task in tasks if task in done).result()
