"""Queue of the inputs of a run, and the groups that share a call."""

import dataclasses
from collections import deque
from collections.abc import Iterable

from embedwire.inputs import AnyInput, Media, Text
from embedwire.requests import INLINE_BYTES, file_bytes

# Maximum wait of a group for further inputs, in seconds.
LINGER = 0.05


@dataclasses.dataclass(slots=True, eq=False)
class Item:
    """One input of a run.

    Attributes:
        position: position in the iterator, from 0.
        input: the input.
        read_at: when it was read, in seconds of the run's clock.
        most: maximum number of inputs in its call.
        file_bytes: result of `requests.file_bytes`.
        size: bytes of its text or inline file, which count for the limit of a group.
        is_upload: whether its file is uploaded, in a separate call.
        is_repeatable: whether its content can be read again for another call.
        start: start position of a seekable file; None for other sources.
        deadline: deadline of the input, if waits count; None before its first call.
        task_id: identifier of the upstream's task, as known from its progress; empty if there is none.
        error: exception of an unreadable file; None if it can be read.
    """

    position: int
    input: AnyInput
    read_at: float
    most: int
    file_bytes: int | None = 0
    size: int = 0
    is_upload: bool = False
    is_repeatable: bool = True
    start: int | None = None
    deadline: float | None = None
    task_id: str = ""
    error: BaseException | None = None

    def measure(self) -> None:
        """Measure the content and decide how it is sent. May block; an exception of the file is kept in `error`."""
        if isinstance(self.input, Text):
            self.size = len(self.input.value.encode(errors="replace"))
            return
        try:
            self.file_bytes = file_bytes(self.input)
            self.is_repeatable = self.file_bytes is not None
            if self.input.file is not None and self.is_repeatable:
                self.start = self.input.file.tell()
        except BaseException as error:
            self.error = error
            if not isinstance(error, Exception):
                raise
        self.is_upload = self.file_bytes is None or self.file_bytes > INLINE_BYTES
        self.size = 0 if self.is_upload else self.file_bytes or 0

    def rewind(self) -> None:
        """Rewind a seekable file to its start position."""
        if isinstance(self.input, Media) and self.input.file is not None and self.start is not None:
            self.input.file.seek(self.start)


class Queue:
    """Queue of the inputs to send, in order, with a separate queue of uploads.

    Groups are formed only when a call may be sent, so that they fill up while the run waits.
    """

    def __init__(self) -> None:
        self._inline: deque[Item] = deque()
        self._uploads: deque[Item] = deque()
        self._first_deadline = float("inf")  # or an earlier one, of an input that was taken

    def __bool__(self) -> bool:
        return bool(self._inline or self._uploads)

    def append(self, item: Item) -> None:
        """Append an input that was read."""
        (self._uploads if item.is_upload else self._inline).append(item)
        self._note_deadline(item)

    def put_back(self, items: Iterable[Item]) -> None:
        """Put rejected inputs at the front."""
        for item in sorted(items, key=lambda item: item.position, reverse=True):
            (self._uploads if item.is_upload else self._inline).appendleft(item)
            self._note_deadline(item)

    def clear(self) -> list[Item]:
        """Remove all inputs, and return them."""
        items = [*self._inline, *self._uploads]
        self._inline.clear()
        self._uploads.clear()
        self._first_deadline = float("inf")
        return items

    def remove_overdue(self, until: float) -> list[Item]:
        """Remove and return the inputs whose deadline has passed at this time."""
        if until < self._first_deadline:
            return []
        items = self.clear()
        for item in items:
            if not _is_overdue(item, until):
                self.append(item)
        return [item for item in items if _is_overdue(item, until)]

    def first_deadline(self) -> float:
        """Return when `remove_overdue` is due; infinity if no input has a deadline."""
        return self._first_deadline

    def ready_at(self, *, is_complete: bool) -> float:
        """Return when the next group may be sent, in seconds of the run's clock; infinity if there is no input."""
        if self._uploads:
            return float("-inf")
        group, is_full = self._group()
        if not group:
            return float("inf")
        return float("-inf") if is_full or is_complete else group[0].read_at + LINGER

    def take(self, now: float, *, is_complete: bool) -> list[Item]:
        """Remove and return the next group: inputs that share a call, or one upload.

        Args:
            now: the time.
            is_complete: whether no further inputs will be read.

        Returns:
            The group; empty if there is none, or if the only one is not full yet and may wait for further inputs.
        """
        group, is_full = self._group()
        if not (is_full or is_complete or (group and now >= group[0].read_at + LINGER)):
            group = []
        if self._uploads and not (group and group[0].position < self._uploads[0].position):
            return [self._uploads.popleft()]
        for _ in group:
            self._inline.popleft()
        return group

    def _note_deadline(self, item: Item) -> None:
        if item.deadline is not None:
            self._first_deadline = min(self._first_deadline, item.deadline)

    def _group(self) -> tuple[list[Item], bool]:
        """Return the first inputs that may share a call, and whether no further one can join them."""
        group: list[Item] = []
        size = 0
        for item in self._inline:
            size += item.size
            if group and (
                len(group) >= min(item.most, group[0].most) or size > INLINE_BYTES or item.deadline != group[0].deadline
            ):
                return group, True
            group.append(item)
        return group, bool(group) and len(group) >= group[0].most


def _is_overdue(item: Item, until: float) -> bool:
    return item.deadline is not None and item.deadline <= until
