"""One call of a run: the inputs that have ended, and those to be sent again."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from embedwire.errors import EmbedwireError, Failure
from embedwire.map import failures
from embedwire.map.batches import Item
from embedwire.map.pacing import is_rejection, is_too_large
from embedwire.results import Embedding, Progress


@dataclasses.dataclass(slots=True, eq=False)
class Call:
    """One call of a run.

    Attributes:
        items: inputs of the call.
        options: arguments of `CallOptions`.
        sent_at: when it was sent, in seconds of the run's clock.
        missing: inputs without a result, by index in the call.
        again: inputs to be sent again.
        rejections: rejections of inputs or of the call.
    """

    items: list[Item]
    options: Any
    sent_at: float
    missing: dict[int, Item] = dataclasses.field(init=False)
    again: list[Item] = dataclasses.field(default_factory=list)
    rejections: list[Failure] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.missing = dict(enumerate(self.items))

    def skip(self, unreadable: Mapping[int, Exception]) -> list[Embedding]:
        """Remove the inputs that cannot be read or encoded, and return their embeddings."""
        skipped = [(self.missing.pop(index), error) for index, error in unreadable.items() if index in self.missing]
        self.items = list(self.missing.values())
        self.missing = dict(enumerate(self.items))
        return [failures.failed(item, failures.unreadable(item, error)) for item, error in skipped]

    def answer(self, embedding: Embedding) -> Embedding | None:
        """Add a result. Return the embedding of its input, or None if the input is sent again."""
        item = self.missing.pop(embedding.result.input_index, None)
        if item is None:
            return None
        failure = embedding.failure
        if failure is not None and is_rejection(failure) and not is_too_large(failure):
            self.rejections.append(failure)
            if not failure.upstream_task_id and not self._send_again([item]):
                return None
        return failures.positioned(embedding, self.items)

    def progress(self, event: Progress) -> Progress:
        """Note the task of an input. Return its progress with its position in the iterator."""
        item = self.items[event.input_index]
        item.task_id = event.upstream_task_id or item.task_id
        return dataclasses.replace(event, input_index=item.position)

    def end(self, error: EmbedwireError | None, *, is_repeatable: bool) -> list[Embedding]:
        """End the call. Return the embeddings of the inputs that end with it; `again` has the others.

        Args:
            error: failure of the call; None if it succeeded, with a result for each input.
            is_repeatable: whether its inputs can be sent again.
        """
        if error is None:
            return []
        failure, missing = error.failure, list(self.missing.values())
        if len(missing) == 1:  # the failure of a call with several inputs names no task
            missing[0].task_id = failure.upstream_task_id or missing[0].task_id
        ended: list[Embedding] = []
        if is_rejection(failure) and not is_too_large(failure):
            self.rejections.append(failure)
            if is_repeatable:
                missing = self._send_again(missing)
        elif is_too_large(failure) and len(missing) > 1:
            for item in missing:
                item.most = (len(missing) + 1) // 2
            missing = self._send_again(missing)
        elif named := self._named(failure):
            missing = self._send_again([item for index, item in self.missing.items() if index not in named])
            faults = [(self.items[index], mine) for index, mine in named.items()]
            ended = [failures.failed(item, mine, error.request_id, error.attempts) for item, mine in faults]
        shown = failures.with_positions(failure, self.items)
        return ended + [failures.failed(item, shown, error.request_id, error.attempts) for item in missing]

    def _send_again(self, items: Sequence[Item]) -> list[Item]:
        """Mark inputs to be sent again. Return those with a task, of which another call would create a second one."""
        self.again += [item for item in items if not item.task_id]
        return [item for item in items if item.task_id]

    def _named(self, failure: Failure) -> dict[int, Failure]:
        """Return the failures of the inputs that the violations of an invalid request name."""
        if len(self.items) == 1:
            return {}
        named = failures.by_input(failure, self.items)
        return {index: mine for index, mine in named.items() if index in self.missing}
