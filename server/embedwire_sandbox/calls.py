"""Operations of the API, and the journal of its calls."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from aiohttp import web

from embedwire_sandbox.models import Category, Modality

Operation = Literal[
    "embed", "embed_v2", "task_create", "task_poll", "task_list",
    "asset_create", "asset_poll", "asset_list", "asset_delete",
    "upload_create", "upload_urls", "upload_complete", "upload_status", "upload_list", "chunk",
]  # fmt: skip
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)
EMBEDDING_OPERATIONS: Final[tuple[Operation, ...]] = ("embed", "embed_v2", "task_create")
_ASSET_OPERATIONS: Final[tuple[Operation, ...]] = ("asset_create", "upload_create")
_JOURNAL_LENGTH: Final = 1_000


@dataclass(slots=True)
class RecordedRequest:
    """Journal entry of one call, without its content.

    Attributes:
        operation: The operation; `None` for a path or method that the API does not have.
        method: HTTP method.
        resource_id: Id of the task, asset or upload that the call reads, changes or has created, if any.
        parts: Names of its form parts, or of the members of its JSON body, in the order of arrival.
        modalities: Modalities of its inputs.
        content_length: `Content-Length` of the request; `None` if the body was chunked.
        fault: Kind of the scripted fault of this call.
        status: HTTP status of the response; `None` if the connection ended before the response did.
    """

    operation: Operation | None = None
    method: str = ""
    resource_id: str | None = None
    parts: list[str] = field(default_factory=list)
    modalities: tuple[Modality, ...] = ()
    content_length: int | None = None
    fault: str | None = None
    status: int | None = None

    @property
    def categories(self) -> tuple[Category, ...]:
        """Rate limits that the call counts against; none for calls that only read, upload a chunk, or delete."""
        if self.operation in _ASSET_OPERATIONS:
            return ("asset",)
        return self.modalities if self.operation in EMBEDDING_OPERATIONS else ()


RECORDED_REQUEST: web.RequestKey[RecordedRequest] = web.RequestKey("recorded", RecordedRequest)


class Journal:
    """The last calls, and the number of all calls by operation.

    Attributes:
        entries: The last calls, oldest first.
    """

    def __init__(self) -> None:
        self.entries: deque[RecordedRequest] = deque(maxlen=_JOURNAL_LENGTH)
        self._counts: Counter[Operation] = Counter()

    def add(self, recorded: RecordedRequest) -> None:
        """Add a call of an operation; others are not counted."""
        if recorded.operation is not None:
            self._counts[recorded.operation] += 1
            self.entries.append(recorded)

    @property
    def counts(self) -> Mapping[Operation, int]:
        """Number of calls of each operation, failed ones included."""
        return {operation: self._counts[operation] for operation in OPERATIONS}
