"""Driver of the runs of `AsyncClient.map`: tasks that read the inputs, send the calls and receive their results."""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Sequence, Sized
from types import TracebackType
from typing import Any, Self, TypeVar

from embedwire import replies, requests
from embedwire.async_stream import AsyncStream
from embedwire.errors import EmbedwireError
from embedwire.inputs import AnyInput
from embedwire.map import failures, sending
from embedwire.map.call import Call
from embedwire.map.pacing import is_rejection
from embedwire.map.run import Run
from embedwire.map.source import Source
from embedwire.options import CallOptions
from embedwire.results import Embedding, Progress

T = TypeVar("T")
# Begins a call.
Start = Callable[[requests.Plan, CallOptions], AsyncStream]


class AsyncMapRun(AsyncIterator[Embedding]):
    """Async iterator over the embeddings of one run of `AsyncClient.map`, in order of arrival. A context manager.

    Reading and sending begin when the first embedding is requested. Leaving the `async with` block cancels running
    calls, stops reading, and closes the iterator of the inputs if it has `close` or `aclose`. It does not wait for an
    iterator or a file that blocks a thread.
    """

    def __init__(self, tasks: "Tasks") -> None:
        self._tasks = tasks

    async def __anext__(self) -> Embedding:
        return await self._tasks.take()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        self._tasks.abandon_from_any_thread()

    async def close(self) -> None:
        """Cancel running calls, and end the iteration."""
        await self._tasks.abandon()


class Tasks:
    """The tasks of one run: one reads the inputs, and each call has its own.

    None of them refers to `AsyncMapRun`, so that an unreferenced run ends.

    Args:
        run: the state of the run.
        inputs: the inputs.
        start: begins a call.

    Raises:
        TypeError: the inputs are not iterable.
    """

    def __init__(self, run: Run, inputs: Iterable[Any] | AsyncIterable[Any], start: Start) -> None:
        self._run = run
        self._source = Source(inputs)
        self._start = start
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        if isinstance(inputs, Sized) and not inputs:  # needs no time, and so no task
            run.end_of_inputs()
        self._output = asyncio.Event()  # for the consumer
        self._window = asyncio.Event()  # for the task that reads

    async def take(self) -> Embedding:
        """Wait for the next embedding and return it.

        Raises:
            StopAsyncIteration: there is no further one.
            BaseException: the error of the run, once, after its last embedding.
        """
        if self._loop is None and not self._run.is_finished:
            self._begin()
        while (embedding := self._run.take()) is None:
            if self._run.is_over:
                raise self._run.take_error() or StopAsyncIteration
            self._output.clear()
            await self._output.wait()
        self._window.set()
        return embedding

    def stop(self, error: BaseException | None) -> None:
        """End the run; its consumer receives the error after the complete embeddings."""
        self._run.stop(error)
        self._update()

    async def abandon(self) -> None:
        """End the run without a consumer, and wait for its tasks."""
        self._run.abandon()
        self._update()
        if self._loop is None:
            await self._source.close()
        await asyncio.gather(*self._tasks - {asyncio.current_task()}, return_exceptions=True)

    def abandon_from_any_thread(self) -> None:
        """End the run without a consumer."""
        if self._loop is not None and not self._run.is_finished:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.stop, None)

    def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # for OpenTelemetry
        self._run.begin(self._loop.time())
        self._spawn(self._read())
        self._update()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _update(self) -> None:
        """Send the calls that may be sent now, wake the tasks, and set the timer for the next event."""
        if self._loop is None:
            return
        now = self._loop.time()
        self._run.expire(now)
        while (call := self._run.next_call(now)) is not None:
            self._spawn(self._perform(call))
        if self._run.is_stopped and not self._loop.is_closed():
            for task in self._tasks - {asyncio.current_task()}:
                task.cancel()
        self._output.set()
        self._window.set()
        if self._timer is not None:
            self._timer.cancel()
        at = self._run.wakes_at
        self._timer = self._loop.call_at(at, self._update) if at < float("inf") else None

    # The reading task.

    async def _read(self) -> None:
        error: BaseException | None = None
        inputs = self._source.begin()
        try:
            while await self._may_read():
                try:
                    value = await anext(inputs)
                except StopAsyncIteration:
                    break
                await self._add(value)
        except BaseException as raised:  # noqa: BLE001 - the consumer receives it
            error = _reported(raised)
        is_stopped = self._run.is_stopped
        self._run.end_of_inputs(error)
        self._update()
        if is_stopped or error is not None:
            await self._source.close()

    async def _may_read(self) -> bool:
        while not self._run.is_stopped and not self._run.may_read:
            self._window.clear()
            await self._window.wait()
        return not self._run.is_stopped

    async def _add(self, value: object) -> None:
        assert self._loop is not None  # noqa: S101 - for the type checker
        item = self._run.new_item(value, self._loop.time())
        try:
            await _in_thread([item.input], item.measure)
        except asyncio.CancelledError as error:
            item.error = error  # the thread may still use the file
            raise
        finally:
            self._run.add(item)
            self._update()

    # The task of a call.

    async def _perform(self, call: Call) -> None:
        assert self._loop is not None  # noqa: S101 - for the type checker
        try:
            messages, unreadable = await _in_thread([item.input for item in call.items], lambda: sending.encoded(call))
            goes_on = self._run.skip(call, unreadable)
            self._output.set()
            error, is_repeatable = None, True
            if goes_on:
                error, is_repeatable = await self._receive(call, sending.plan(self._run.model, call, messages))
            self._run.end(call, self._loop.time(), error, is_repeatable=is_repeatable)
        except BaseException as raised:  # noqa: BLE001 - the client is closed, or a source raised SystemExit
            self._run.stop(_reported(raised))  # without effect if the run was stopped, and so this task cancelled
        self._update()

    async def _receive(self, call: Call, plan: requests.Plan) -> tuple[EmbedwireError | None, bool]:
        """Receive the results of a call; return its failure, and whether its inputs can be sent again."""
        async with self._start(plan, call.options) as stream:
            try:
                await self._collect(call, stream)
            except Exception as error:
                if stream.upload is not None and stream.upload.error is error:
                    self._run.skip(call, {0: error})
                elif isinstance(error, EmbedwireError):
                    return error, not is_rejection(error.failure) or await _is_repeatable(call, stream)
                else:
                    raise
        return None, True

    async def _collect(self, call: Call, stream: AsyncStream) -> None:
        collector = replies.Collector(len(call.items), stream.request_id)
        async for event in stream:
            embedding = collector.add(event)
            if isinstance(event, Progress):
                progress = self._run.progress(call, event)
                if progress is not None and self._run.on_progress is not None:
                    self._run.on_progress(progress)
            elif embedding is not None:
                self._run.answer(call, embedding)
                self._output.set()
        if call.missing:
            raise failures.MISSING.error(stream.request_id)


def _reported(error: BaseException) -> BaseException:
    """Return the exception for the consumer. A cancellation is replaced: it would seem to be that of the consumer."""
    if not isinstance(error, asyncio.CancelledError):
        return error
    reported = RuntimeError("a task of this run was cancelled, for instance by a timeout within the iterator")
    reported.__cause__ = error
    return reported


async def _in_thread(inputs: Sequence[AnyInput], work: Callable[[], T]) -> T:
    """Call `work`, in a thread if these inputs have files, since it may block then."""
    return await asyncio.to_thread(work) if requests.reads_files(inputs) else work()


async def _is_repeatable(call: Call, stream: AsyncStream) -> bool:
    if stream.upload is None:
        return True
    return await asyncio.to_thread(sending.is_repeatable, call, stream.upload)
