"""Driver of the runs of `Client.map`: threads that read the inputs, send the calls and receive their results."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Self

from embedwire import blocking, replies, requests
from embedwire.errors import EmbedwireError
from embedwire.map import failures, sending
from embedwire.map.call import Call
from embedwire.map.pacing import is_rejection
from embedwire.map.run import Run
from embedwire.options import CallOptions
from embedwire.results import Embedding, Progress
from embedwire.stream import Stream

# Begins a call.
Start = Callable[[requests.Plan, CallOptions], Stream]


class MapRun(Iterator[Embedding]):
    """Iterator over the embeddings of one run of `Client.map`, in order of arrival. A context manager.

    Reading and sending begin when the first embedding is requested. Leaving the `with` block cancels running calls,
    stops reading, and closes the iterator of the inputs if it has `close`. It does not wait for an iterator or a file
    that blocks.
    """

    def __init__(self, threads: "Threads") -> None:
        self._threads = threads

    def __next__(self) -> Embedding:
        return self._threads.take()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Cancel running calls, and end the iteration."""
        self._threads.abandon()


class Threads:
    """The threads of one run: one reads the inputs, one schedules the calls, and each call has its own.

    None of them refers to `MapRun`, so that an unreferenced run ends.

    Args:
        run: state of the run; used under a lock only.
        inputs: the inputs.
        start: begins a call.
    """

    def __init__(self, run: Run, inputs: Iterable[Any], start: Start) -> None:
        self._run = run
        self._inputs = iter(inputs)
        self._start = start
        self._streams: set[Stream] = set()
        self._has_begun = False
        if isinstance(inputs, Sized) and not inputs:  # needs no time, and so no thread
            run.end_of_inputs()
        lock = threading.RLock()  # reentrant, since the garbage collector may call `abandon` in any thread
        self._output = threading.Condition(lock)  # for the consumer
        self._work = threading.Condition(lock)  # for the thread that sends
        self._window = threading.Condition(lock)  # for the thread that reads

    def take(self) -> Embedding:
        """Wait for the next embedding and return it.

        Raises:
            StopIteration: there is no further one.
            BaseException: the error of the run, once, after its last embedding.
        """
        with self._output:
            if not self._has_begun:
                self._begin()
            while (embedding := self._run.take()) is None:
                if self._run.is_over:
                    raise self._run.take_error() or StopIteration
                self._output.wait()
            self._window.notify()
            return embedding

    def stop(self, error: BaseException | None) -> None:
        """End the run; its consumer receives the error after the complete embeddings."""
        with self._output:
            self._run.stop(error)
        self._release()

    def abandon(self) -> None:
        """End the run without a consumer."""
        with self._output:
            self._run.abandon()
        self._release()

    def _begin(self) -> None:
        self._has_begun = True
        if self._run.is_finished:
            return
        self._run.begin(time.monotonic())
        self._context = contextvars.copy_context()  # for OpenTelemetry
        try:
            self._spawn(self._read)
            self._spawn(self._send)
        except BaseException as error:  # noqa: BLE001 - no thread could be started; the consumer gets it
            self.stop(error)

    def _spawn(self, work: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401 - those of `work`
        context = self._context.copy()
        threading.Thread(target=context.run, args=(work, *arguments), name="embedwire-map", daemon=True).start()

    def _notify_all(self) -> None:
        for condition in (self._output, self._work, self._window):
            condition.notify_all()

    def _release(self) -> None:
        """Release the resources of an ended run: threads, calls, and the iterator if no thread reads it."""
        with self._output:
            self._notify_all()
            has_begun, self._has_begun = self._has_begun, True
        if not has_begun:
            blocking.close(self._inputs)
        self._cancel_calls()

    def _cancel_calls(self) -> None:
        with self._output:
            streams = list(self._streams) if self._run.is_stopped else []
        for stream in streams:
            stream.close()

    # The reading thread.

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            while self._may_read():
                try:
                    value = next(self._inputs)
                except StopIteration:
                    break
                self._add(value)
        except BaseException as raised:  # noqa: BLE001 - the consumer gets it
            error = raised
        with self._output:
            is_stopped = self._run.is_stopped
            self._run.end_of_inputs(error)
            self._notify_all()
        if is_stopped or error is not None:
            blocking.close(self._inputs)

    def _may_read(self) -> bool:
        with self._window:
            while not self._run.is_stopped and not self._run.may_read:
                self._window.wait()
            return not self._run.is_stopped

    def _add(self, value: object) -> None:
        with self._output:
            item = self._run.new_item(value, time.monotonic())
        try:
            item.measure()
        finally:
            with self._output:
                self._run.add(item)
                self._work.notify()
                if item.error is not None:
                    self._output.notify()

    # The sending thread.

    def _send(self) -> None:
        try:
            with self._work:
                while not self._run.is_finished:
                    now = time.monotonic()
                    if self._run.expire(now):
                        self._notify_all()
                    elif (call := self._run.next_call(now)) is not None:
                        self._spawn(self._perform, call)
                    elif (seconds := self._run.wakes_at - now) > 0:
                        self._work.wait(min(seconds, threading.TIMEOUT_MAX))
                self._notify_all()
        except BaseException as error:  # noqa: BLE001 - no thread could be started; the consumer receives it
            self.stop(error)
        self._cancel_calls()

    # The thread of a call.

    def _perform(self, call: Call) -> None:
        try:
            messages, unreadable = sending.encoded(call)
            with self._output:
                goes_on = self._run.skip(call, unreadable)
                self._output.notify()
            error, is_repeatable = None, True
            if goes_on:
                error, is_repeatable = self._receive(call, sending.plan(self._run.model, call, messages))
            with self._output:
                self._run.end(call, time.monotonic(), error, is_repeatable=is_repeatable)
                self._notify_all()
        except BaseException as raised:  # noqa: BLE001 - the client is closed, or a source raised SystemExit
            self.stop(raised)

    def _receive(self, call: Call, plan: requests.Plan) -> tuple[EmbedwireError | None, bool]:
        """Receive the results of a call; return its failure, and whether its inputs can be sent again."""
        with self._start(plan, call.options) as stream:
            with self._output:
                self._streams.add(stream)
            self._cancel_calls()  # if the run was stopped in the meantime
            try:
                self._collect(call, stream)
            except Exception as error:
                if stream.upload is not None and stream.upload.error is error:
                    with self._output:
                        self._run.skip(call, {0: error})
                elif isinstance(error, EmbedwireError):
                    return error, not is_rejection(error.failure) or sending.is_repeatable(call, stream.upload)
                else:
                    raise
            finally:
                with self._output:
                    self._streams.discard(stream)
        return None, True

    def _collect(self, call: Call, stream: Stream) -> None:
        collector = replies.Collector(len(call.items), stream.request_id)
        for event in stream:
            embedding = collector.add(event)
            if isinstance(event, Progress):
                self._report(call, event)
            elif embedding is not None:
                with self._output:
                    self._run.answer(call, embedding)
                    self._output.notify()
        if call.missing:
            raise failures.MISSING.error(stream.request_id)

    def _report(self, call: Call, event: Progress) -> None:
        with self._output:
            progress = self._run.progress(call, event)
        if progress is not None and self._run.on_progress is not None:
            self._run.on_progress(progress)  # without the lock
