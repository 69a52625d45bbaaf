"""The state of one run of `map`: what is read, sent and handed out when. Without I/O; a driver calls it."""

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from embedwire import requests
from embedwire.errors import EmbedwireError, Failure
from embedwire.inputs import AnyInput
from embedwire.map import failures
from embedwire.map.batches import Item, Queue
from embedwire.map.pacing import Pacing, is_rejection, is_too_large
from embedwire.options import MAX_TIMEOUT_SECONDS, CallOptions, MapOptions
from embedwire.results import Embedding

_OF_CALLS = ("max_retries", "chunk_bytes", "encoding")


@dataclasses.dataclass(slots=True, eq=False)
class Call:
    """One call of a run.

    Attributes:
        items: its inputs.
        options: its options.
        sent_at: when it was sent, in seconds of the run's clock.
        missing: the inputs without a result, by their index in the call.
        rejected: the inputs whose result is a rejection, and that rejection.
    """

    items: list[Item]
    options: CallOptions
    sent_at: float
    missing: dict[int, Item]
    rejected: list[tuple[Item, Failure]] = dataclasses.field(default_factory=list)


class Run:
    """The state of one run.

    Each input that was read ends once, as an embedding with vectors or with a failure. At most `inputs_per_call` x
    `concurrent_calls` inputs are read ahead of the embeddings that the consumer has taken.

    Args:
        model: the model.
        options: the options of the run, checked.
        call_timeout: the timeout in seconds of a call with these inputs.

    Attributes:
        model: the model.
        error: what the consumer gets after the last embedding; None if the run ends well.
        is_stopped: whether the run was ended before all inputs were; its calls are to be cancelled then.
    """

    def __init__(self, model: str, options: MapOptions, call_timeout: Callable[[Sequence[AnyInput]], float]) -> None:
        self.model = model
        self.error: BaseException | None = None
        self.is_stopped = False
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
        self._done: deque[Embedding] = deque()
        self._read = self._ended = self._taken = 0
        self._is_complete = False  # no further inputs will be read

    def begin(self, now: float) -> None:
        """Start the clock of the run."""
        self._began_at = now

    # Reading.

    @property
    def may_read(self) -> bool:
        """Whether a further input may be read now."""
        return not self.is_finished and not self._is_complete and self._read - self._taken < self._window

    def new_item(self, value: object, now: float) -> Item:
        """Return the next input that the iterator gave; it is to be measured and added.

        Raises:
            TypeError: it is not a Text, Image or Audio.
        """
        return Item(self._read, requests.check_input(self._read, value), now, self._per_call)

    def add(self, item: Item) -> None:
        """Add an input that was read."""
        if self.is_stopped:
            return
        self._read += 1
        if item.error is not None:
            self._end(failures.failed(item, failures.unreadable(item, item.error)))
        else:
            self._queue.append(item)

    def end_of_inputs(self, error: BaseException | None = None) -> None:
        """Note the end of the iterator, or its exception, which is raised after the inputs that it gave have ended."""
        self._is_complete = True
        if self.error is None:
            self.error = error

    # Calls.

    def next_call(self, now: float) -> Call | None:
        """Return the next call if one may be sent now."""
        if self.is_stopped or now < self._pacing.paused_until or not self._pacing.has_room:
            return None
        items = self._queue.take(now, is_complete=self._is_complete)
        if not items:
            return None
        self._pacing.running += 1
        options = self._call_options | {"timeout": self._timeout(items, now)}
        call = Call(items, options, now, dict(enumerate(items)))
        self._calls.add(call)
        return call

    def skip(self, call: Call, unreadable: dict[int, Exception]) -> None:
        """End the inputs of a call that cannot be encoded, by their index; the call has only the others then."""
        if call not in self._calls:
            return
        for index, error in unreadable.items():
            item = call.items[index]
            self._end(failures.failed(item, failures.unreadable(item, error)))
        call.items = [item for index, item in enumerate(call.items) if index not in unreadable]
        call.missing = dict(enumerate(call.items))

    def answer(self, call: Call, embedding: Embedding) -> None:
        """Add the result of an input of a call."""
        item = call.missing.pop(embedding.result.input_index, None) if call in self._calls else None
        if item is None:
            return
        failure = embedding.failure
        if failure is not None and is_rejection(failure) and not is_too_large(failure):
            call.rejected.append((item, failure))
        else:
            self._end(failures.positioned(embedding, call.items))

    def end(self, call: Call, now: float, error: EmbedwireError | None = None, *, is_repeatable: bool = True) -> None:
        """Note the end of a call.

        Args:
            call: the call.
            now: the time.
            error: its failure; None if it has ended well.
            is_repeatable: whether its inputs can be sent again.
        """
        if call not in self._calls:
            return
        self._calls.remove(call)
        again = [item for item, _ in call.rejected]
        rejections = [failure for _, failure in call.rejected]
        if error is None:
            self._fail(call, failures.MISSING)
        elif is_too_large(error.failure) or not is_rejection(error.failure):
            again += self._divided(call, error)
        else:
            rejections.append(error.failure)
            if is_repeatable:
                again += call.missing.values()
            else:
                self._fail(call, error.failure, error)
        if rejections:
            self._pacing.rejected(rejections, call.sent_at, now)
        else:
            self._pacing.completed()
        self._queue.put_back(again)
        self.expire(now)

    def _divided(self, call: Call, error: EmbedwireError) -> list[Item]:
        """End the inputs to which a failure of their call applies; return those that are to be sent again."""
        missing = list(call.missing.values())
        if is_too_large(error.failure) and len(missing) > 1:
            for item in missing:
                item.most = (len(missing) + 1) // 2
            return missing
        own = failures.by_input(error.failure, call.items) if len(call.items) > 1 else {}
        named = {index: item for index, item in call.missing.items() if index in own}
        if not named:
            self._fail(call, error.failure, error)
            return []
        for index, item in named.items():
            self._end(failures.failed(item, own[index], error.request_id))
        return [item for index, item in call.missing.items() if index not in named]

    def _fail(self, call: Call, failure: Failure, error: EmbedwireError | None = None) -> None:
        """End the inputs without a result of a call with this failure."""
        failure = failures.with_positions(failure, call.items)
        for item in call.missing.values():
            if error is None:
                self._end(failures.failed(item, failure))
            else:
                self._end(failures.failed(item, failure, error.request_id, error.attempts))

    def _timeout(self, items: Sequence[Item], now: float) -> float:
        """Return the timeout of a call; if waits count, what is left of that of its inputs."""
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
        """End the run or the waiting inputs whose time is over; return whether there are any."""
        if self.is_finished:
            return False
        if now >= self._ends_at:
            self._cut_off()
            return True
        if not self._count_waits:
            return False
        overdue = self._queue.remove_overdue(max(now, self._pacing.paused_until))
        failure = failures.deadline_exceeded("the deadline passes before the server accepts this input")
        for item in overdue:
            self._end(failures.failed(item, failure))
        return bool(overdue)

    @property
    def wakes_at(self) -> float:
        """When something is due without another event, in seconds of the run's clock; infinity if never."""
        if self.is_finished:
            return float("inf")
        times = [self._ends_at]
        if self._count_waits:
            times.append(self._queue.first_deadline())
        if self._pacing.has_room:
            times.append(max(self._pacing.paused_until, self._queue.ready_at(is_complete=self._is_complete)))
        return min(times)

    @property
    def _ends_at(self) -> float:
        if self._run_timeout is None:
            return float("inf")
        paused = 0.0 if self._count_waits else self._pacing.paused_seconds
        return self._began_at + min(self._run_timeout, MAX_TIMEOUT_SECONDS) + paused

    def _cut_off(self) -> None:
        running = [(*call.missing.values(), *(item for item, _ in call.rejected)) for call in self._calls]
        items = [*self._queue.clear(), *(item for items in running for item in items)]
        self.stop(failures.deadline_exceeded("the timeout of the run passed").error())
        failure = failures.deadline_exceeded("the timeout of the run passed before this input was embedded")
        for item in sorted(items, key=lambda item: item.position):
            self._end(failures.failed(item, failure))

    # The consumer.

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is to be read or sent."""
        return self.is_stopped or (self._is_complete and self._ended == self._read)

    @property
    def is_over(self) -> bool:
        """Whether there are no further embeddings."""
        return self.is_finished and not self._done

    def take(self) -> Embedding | None:
        """Return the next embedding; None if there is none yet."""
        if not self._done:
            return None
        self._taken += 1
        return self._done.popleft()

    def stop(self, error: BaseException | None) -> None:
        """End the run before its time; embeddings that are complete can still be taken."""
        if self.is_finished:
            return
        self.is_stopped = True
        self.error = error
        self._queue.clear()
        self._calls.clear()

    def abandon(self) -> None:
        """End the run, since its consumer wants nothing more of it."""
        self.stop(None)
        self.error = None
        self._done.clear()

    def _end(self, embedding: Embedding) -> None:
        self._ended += 1
        self._done.append(embedding)
