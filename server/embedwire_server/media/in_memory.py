"""File content in memory."""

import dataclasses
from collections.abc import AsyncGenerator

READ_BYTES = 256 << 10


@dataclasses.dataclass(frozen=True, slots=True)
class InMemoryContent:
    """File content in memory."""

    data: bytes = dataclasses.field(repr=False)

    async def ready(self) -> int:
        """Return the size in bytes, without waiting."""
        return len(self.data)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the file in pieces: the transport copies data that waits to be sent, so one piece at most is copied."""
        for start in range(0, len(self.data), READ_BYTES):
            yield self.data[start : start + READ_BYTES]

    def read_at(self, offset: int, size: int) -> bytes:
        """Read a piece; see `core.inputs.Content`."""
        return self.data[offset : offset + size]

    def close(self) -> None:
        """Do nothing: the request holds the bytes."""
