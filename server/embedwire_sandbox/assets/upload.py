"""One upload in chunks."""

import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, Any, NamedTuple

from embedwire_sandbox.errors import invalid
from embedwire_sandbox.resources import now, written_time


class Chunk(NamedTuple):
    """A chunk that has arrived."""

    etag: str
    size: int


class Grant(NamedTuple):
    """Secret of a presigned URL, and the end of its validity on the monotonic clock."""

    secret: str
    end: float


@dataclass(slots=True, eq=False)
class ChunkedUpload:
    """One upload in chunks, which becomes an asset when all chunks are reported.

    Attributes:
        id: Its id.
        asset_id: Id of the asset that it becomes.
        owner: API key that created it.
        filename: Name of the asset.
        total_size: Size of the file, in bytes.
        chunk_size: Size of each chunk but the last, in bytes.
        created_at: When it was created.
        valid_sec: Its validity, in seconds.
        file: The content, with each chunk at its place.
        failure: Message with which the asset fails, if it does.
        enable_hls: Whether the caller wants a playlist.
        user_metadata: Metadata of the caller.
        chunks: Chunks that have arrived, by number from 1.
        reported: Numbers of the chunks that the caller has reported.
        completed: Whether it has become an asset.
    """

    id: str
    asset_id: str
    owner: str = field(repr=False)
    filename: str = field(repr=False)
    total_size: int
    chunk_size: int
    created_at: datetime
    valid_sec: float
    file: IO[bytes] = field(repr=False)
    failure: str | None = None
    enable_hls: bool = False
    user_metadata: Any = field(default=None, repr=False)
    chunks: dict[int, Chunk] = field(default_factory=dict, repr=False)
    reported: set[int] = field(default_factory=set, repr=False)
    completed: bool = False
    _grants: dict[int, Grant] = field(default_factory=dict, repr=False)
    _end: float = 0.0

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.valid_sec

    @property
    def total_chunks(self) -> int:
        """Number of chunks."""
        return -(-self.total_size // self.chunk_size)

    @property
    def status(self) -> str:
        """`active`, `completed` or `expired`."""
        if self.completed:
            return "completed"
        return "expired" if time.monotonic() >= self._end else "active"

    @property
    def expires_at(self) -> datetime:
        """When it expires."""
        return self.created_at + timedelta(seconds=self.valid_sec)

    def size_of(self, index: int) -> int:
        """Return the size of a chunk in bytes."""
        return min(self.chunk_size, self.total_size - (index - 1) * self.chunk_size)

    def grant(self, index: int, valid_sec: float) -> str:
        """Return the secret of a new presigned URL for a chunk; an earlier one becomes invalid."""
        secret = secrets.token_hex(32)
        self._grants[index] = Grant(secret, time.monotonic() + valid_sec)
        return secret

    def allows(self, index: int, secret: str) -> bool:
        """Whether a presigned URL is valid."""
        grant = self._grants.get(index)
        return (
            grant is not None
            and secrets.compare_digest(grant.secret.encode(), secret.encode())
            and time.monotonic() < grant.end
            and self.status == "active"
        )

    def receive(self, index: int, chunk: Chunk) -> None:
        """Record a chunk that has arrived; its URL cannot be used again."""
        self.chunks[index] = chunk
        del self._grants[index]

    def report(self, index: int, chunk: Chunk) -> bool:
        """Record that the caller reports a chunk; returns whether it is new.

        Raises:
            RefusalError: It has not arrived, or has another ETag or size.
        """
        if self.chunks.get(index) != chunk:
            raise invalid("completed_chunks", f"Chunk {index} was not uploaded, or has another proof or size.")
        is_new = index not in self.reported
        self.reported.add(index)
        return is_new

    def summary(self) -> dict[str, Any]:
        """Return its object in a list."""
        return {
            "upload_id": self.id,
            "status": self.status,
            "total_size": self.total_size,
            "chunk_size": self.chunk_size,
            "total_chunks": self.total_chunks,
            "created_at": written_time(self.created_at),
            "expires_at": written_time(self.expires_at),
        }

    def progress(self) -> dict[str, Any]:
        """Return its status, without the list of chunks."""
        done = len(self.reported)
        return {
            "upload_id": self.id,
            "status": self.status,
            "chunks_completed": done,
            "chunks_failed": 0,
            "chunks_pending": self.total_chunks - done,
            "total_size": self.total_size,
            "uploaded_size": sum(self.chunks[index].size for index in self.reported),
            "created_at": written_time(self.created_at),
            "updated_at": written_time(now()),
        }
