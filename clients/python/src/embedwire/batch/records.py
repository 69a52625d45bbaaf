"""Records of a source: the inputs of a batch, each with a key and a version of its content."""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Literal, Protocol

from embedwire.inputs import AnyInput, Audio, Image, Text

Modality = Literal["text", "image", "audio"]

_MODALITIES: dict[type, Modality] = {Text: "text", Image: "image", Audio: "audio"}


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One input of a source.

    Attributes:
        key: unique identifier within the output, for instance the path of a file; at most 1,024 bytes of UTF-8.
        input: the input. Its content can be read again: a text, a path, bytes, a URL or chunks that begin again with
            each iteration.
        size: size of the content in bytes; 0 for a URL that the upstream fetches.
        version: identifies the content: a hash of it, or size and time of modification. An input with another version
            than the embedded one has changed.
    """

    key: str
    input: AnyInput = dataclasses.field(repr=False)
    size: int
    version: str

    @property
    def modality(self) -> Modality:
        """Modality of the input."""
        return _MODALITIES[type(self.input)]


@dataclasses.dataclass(frozen=True, slots=True)
class InvalidRecord:
    """An entry of a source that is no input, for instance a line that is not JSON.

    Attributes:
        key: its key, or its position in the source if it has none.
        message: the field, the fault and how to correct it. It contains no content.
    """

    key: str
    message: str


class Source(Protocol):
    """Source of records. Each iteration begins again; entries may have been added in the meantime.

    Attributes:
        ignored: number of files that were not read because their type is not supported, by suffix; complete after an
            iteration.
    """

    ignored: Counter[str]

    def __iter__(self) -> Iterator[Record | InvalidRecord]:
        """Yield the records, with constant memory.

        Raises:
            OSError: the source cannot be read.
        """

    def count(self) -> int | None:
        """Return the number of entries; None if that needs as long as reading them.

        Raises:
            OSError: the source cannot be read.
        """
