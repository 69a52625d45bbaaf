"""Media files of a call, in memory or on disk."""

from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Final

_SPOOL_BYTES: Final = 1 << 20  # larger files are on disk


def spool() -> IO[bytes]:
    """Return an empty temporary file."""
    return SpooledTemporaryFile(_SPOOL_BYTES)


@dataclass(frozen=True, slots=True)
class Upload:
    """File with its metadata; closed by the code that created it.

    Attributes:
        file: The content, positioned at its start.
        size: Length in bytes.
        filename: File name from the sender, if any.
        url: URL from which the content was fetched, if it was.
    """

    file: IO[bytes]
    size: int
    filename: str | None = None
    url: str | None = None
