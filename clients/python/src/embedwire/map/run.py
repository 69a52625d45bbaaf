"""State of one run of `map`: it schedules reading, sending and yielding. Without I/O; a driver calls it."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from embedwire import requests
from embedwire.errors import EmbedwireError
from embedwire.inputs import AnyInput
from embedwire.map import failures
from embedwire.map.batches import Item, Queue
from embedwire.map.call import Call
from embedwire.map.pacing import Pacing, was_processed
from embedwire.options import MapOptions
from embedwire.results import Embedding, Progress

_OF_CALLS = ("max_retries", "chunk_bytes", "encoding", "dimensions", "include_uncertainty")


class Run:
    """State of one run.

    Each input that was read ends once, as an embedding with vectors or with a failure. At most `inputs_per_call` x
    `concurrent_calls` inputs are read ahead of the embeddings that the consumer has received.

    Args:
        model: name of the model.
        options: checked options of the run.
        call_timeout: function that returns the timeout of a call with these inputs, in seconds.

    Attributes:
        model: name of the model.
        error: exception for the consumer after the last embedding; None if the run succeeds.
        is_stopped: whether the run was stopped early; its calls are cancelled then.
        on_progress: function of the caller for the progress of inputs; None if there is none.
    """

    def __init__(self, model: str, options: MapOptions, call_timeout: Callable[[Sequence[AnyInput]], float]) -> None:
        self.model = model
        self.error: BaseException | None = None
        self.is_stopped = False
        self.on_progress = options.get("on_progress")
        self._per_call = options.get("inputs_per_call", 16)
        concurrent_calls = options.get("concurrent_calls", 8)
        self._window = self._per_call * concurrent_calls
        self._pacing = Pacing(concurrent_calls)
        self._run_timeout = options.get("run_timeout")
        self._count_waits = options.get("count_waits", False)
        self._call_options: Any = {name: value for name, value in options.items() if name in _OF_CALLS}
        self._call_timeout = call_timeout
        self._began_at = 0.0
        self._queue = Queue()
        self._calls: set[Call] = set()
        self._open: dict[int, Item] = {}  # the inputs that were read and have not ended, by position
        self._done: deque[Embedding] = deque()
        self._read = self._taken = 0
        self._is_complete = False  # no further inputs will be read

    def begin(self, now: float) -> None:
        """Start the clock of the run."""
        self._began_at = now

    # Reading.

    @property
    def may_read(self) -> bool:
        """Return whether a further input may be read now."""
        return not self.is_finished and not self._is_complete and self._read - self._taken < self._window

    def new_item(self, value: object, now: float) -> Item:
        """Register the next value of the iterator and return its item, which the driver then measures and adds.

        Raises:
            TypeError: it is not a Text, Image or Audio.
        """
        item = Item(self._read, requests.check_input(self._read, value), now, self._per_call)
        self._read += 1
        if not self.is_stopped:
            self._open[item.position] = item
        return item

    def add(self, item: Item) -> None:
        """Add an input that was measured."""
        if self.is_stopped:
            return
        if item.error is not None:
            self._end(failures.failed(item, failures.unreadable(item, item.error)))
        else:
            self._queue.append(item)

    def end_of_inputs(self, error: BaseException | None = None) -> None:
        """Record the end of the iterator, or its exception, which is raised after the inputs before it have ended."""
        self._is_complete = True
        if not self.is_stopped:
            self.error = error

    # Calls.

    def next_call(self, now: float) -> Call | None:
        """Return the next call if one may be sent now."""
        if self.is_stopped or now < self._pacing.opens_at:
            return None
        items = self._queue.take(now, is_complete=self._is_complete)
        if not items:
            return None
        self._pacing.sent()
        call = Call(items, self._call_options | {"timeout": self._timeout(items, now)}, now)
        self._calls.add(call)
        return call

    def skip(self, call: Call, unreadable: Mapping[int, Exception]) -> bool:
        """End the inputs of a call that cannot be read or encoded, by their index; the call keeps the others.

        Returns:
            Whether there is anything to send: other inputs, of a run that was not stopped.
        """
        if call not in self._calls:
            return False
        self._end(*call.skip(unreadable))
        return bool(call.items)

    def answer(self, call: Call, embedding: Embedding) -> None:
        """Add the result of an input of a call."""
        if call in self._calls and (ended := call.answer(embedding)) is not None:
            self._end(ended)

    def progress(self, call: Call, event: Progress) -> Progress | None:
        """Note the progress of an input of a call; return what to report of it, None if the call was abandoned."""
        return call.progress(event) if call in self._calls else None

    def end(self, call: Call, now: float, error: EmbedwireError | None = None, *, is_repeatable: bool = True) -> None:
        """Record the end of a call.

        Args:
            call: the call.
            now: the time.
            error: failure of the call; None if it succeeded, with a result for each input.
            is_repeatable: whether its inputs can be sent again.
        """
        if call not in self._calls:
            return
        self._calls.remove(call)
        self._end(*call.end(error, is_repeatable=is_repeatable))
        if call.rejections:
            self._pacing.rejected(call.rejections, call.sent_at, now)
        elif call.items and (error is None or was_processed(error.failure)):
            self._pacing.completed()
        else:
            self._pacing.failed()
        self._queue.put_back(call.again)
        self.expire(now)

    def _timeout(self, items: Sequence[Item], now: float) -> float:
        """Return the timeout of a call; if waits count, the remaining time of its inputs."""
        deadline = items[0].deadline
        if deadline is None:
            seconds = self._call_timeout([item.input for item in items])
            if self._count_waits:
                for item in items:
                    item.deadline = now + seconds
            return seconds
        return max(0.0, deadline - now)

    # Time.

    def expire(self, now: float) -> bool:
        """End the run or the waiting inputs whose deadline passed; return whether there are any."""
        if self.is_finished:
            return False
        if now >= self._ends_at:
            self._cut_off()
            return True
        if not self._count_waits:
            return False
        overdue = self._queue.remove_overdue(max(now, self._pacing.paused_until))
        failure = failures.deadline_exceeded("the deadline passes before the server accepts this input")
        self._end(*(failures.failed(item, failure) for item in overdue))
        return bool(overdue)

    @property
    def wakes_at(self) -> float:
        """Return when the driver has to act without another event, in seconds of the run's clock; infinity if never."""
        if self.is_finished:
            return float("inf")
        ready_at = self._queue.ready_at(is_complete=self._is_complete)
        times = [self._ends_at, max(self._pacing.opens_at, ready_at)]
        if self._count_waits:
            times.append(self._queue.first_deadline())
        return min(times)

    @property
    def _ends_at(self) -> float:
        if self._run_timeout is None:
            return float("inf")
        paused = 0.0 if self._count_waits else self._pacing.paused_seconds
        return self._began_at + self._run_timeout + paused

    def _cut_off(self) -> None:
        items = list(self._open.values())
        self.stop(failures.deadline_exceeded("the timeout of the run passed").error())
        failure = failures.deadline_exceeded("the timeout of the run passed before this input was embedded")
        self._done.extend(failures.failed(item, failure) for item in items)

    # The consumer.

    @property
    def is_finished(self) -> bool:
        """Return whether all inputs were read and have ended."""
        return self.is_stopped or (self._is_complete and not self._open)

    @property
    def is_over(self) -> bool:
        """Return whether there are no further embeddings."""
        return self.is_finished and not self._done

    def take_error(self) -> BaseException | None:
        """Return the error of the run the first time, so that it is raised once; then None."""
        error, self.error = self.error, None
        return error

    def take(self) -> Embedding | None:
        """Return the next embedding; None if there is none yet."""
        if not self._done:
            return None
        self._taken += 1
        return self._done.popleft()

    def stop(self, error: BaseException | None) -> None:
        """End the run early; complete embeddings can still be taken."""
        if self.is_finished:
            return
        self.is_stopped = True
        self.error = error
        self._queue.clear()
        self._calls.clear()
        self._open.clear()

    def abandon(self) -> None:
        """End the run without a consumer."""
        self.stop(None)
        self.error = None
        self._done.clear()

    def _end(self, *embeddings: Embedding) -> None:
        for embedding in embeddings:
            del self._open[embedding.result.input_index]
        self._done.extend(embeddings)
