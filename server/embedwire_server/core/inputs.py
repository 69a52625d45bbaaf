"""Embedding requests and their inputs, as plain values.

Content of callers is in no repr, so that no log or traceback shows it. Seconds are floats.

All values are immutable by convention. Those created for each call or segment are not declared frozen, because creating
a frozen instance takes three times as long.
"""

import dataclasses
from collections.abc import AsyncGenerator
from typing import ClassVar, Protocol

from embedwire_server.core.models import Modality, Model, Truncate

Caller = tuple[str, str]  # a host, and one of its connections


class Content(Protocol):
    """Content of one file, complete or still arriving."""

    async def ready(self) -> int:
        """Wait until the file is complete and return its size in bytes.

        Raises:
            GatewayError: the file will never be complete, or differs from its declaration.
        """
        ...

    def chunks(self) -> AsyncGenerator[bytes]:
        """Iterate over the whole file from its start; each call starts again, for retries."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of the complete file from `offset` on; beyond its end there are none.

        May block on disk I/O, so call it in a thread; other readers are not affected.

        Raises:
            ValueError: the file was closed meanwhile.
            OSError: reading from disk failed.
        """
        ...

    def close(self) -> None:
        """Release the resources of the file. Idempotent; `chunks` and `ready` must not be in use any more."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class UrlSource:
    """Media that the upstream fetches; this server never does."""

    url: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class FileSource:
    """Media that this server sends to the upstream. The name and the type are the caller's, and validated."""

    content: Content
    file_name: str = dataclasses.field(repr=False)
    media_type: str


Source = UrlSource | FileSource


@dataclasses.dataclass(slots=True)
class TextInput:
    """Text input. `truncate` None uses the upstream's default."""

    modality: ClassVar = Modality.TEXT

    key: str = dataclasses.field(repr=False)
    value: str = dataclasses.field(repr=False)
    truncate: Truncate | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ImageInput:
    """Image input."""

    modality: ClassVar = Modality.IMAGE

    key: str = dataclasses.field(repr=False)
    source: Source


@dataclasses.dataclass(frozen=True, slots=True)
class AudioInput:
    """Audio input. `start_offset_sec` None is not sent; the upstream then starts at 0."""

    modality: ClassVar = Modality.AUDIO

    key: str = dataclasses.field(repr=False)
    source: Source
    start_offset_sec: float | None = None


Input = TextInput | ImageInput | AudioInput


def content_of(item: Input) -> Content | None:
    """Return the content of a file input; None for a text and for media by URL."""
    if isinstance(item, TextInput) or isinstance(item.source, UrlSource):
        return None
    return item.source.content


@dataclasses.dataclass(frozen=True, slots=True)
class Quota:
    """Limits of one named caller: concurrent inputs, and inputs per minute; None is no limit."""

    name: str
    inputs_in_flight: int | None = None
    inputs_per_minute: int | None = None


@dataclasses.dataclass(slots=True)
class EmbedRequest:
    """Validated request: one model, at least one input.

    `max_retries` None leaves the number of attempts to the server's policy; `upstream_key` None uses the server's.
    `caller` identifies the client for fair sharing. `content_bytes` is the size of its inline content, without uploads.
    `quota` has the limits of a named caller; None is no limit. `path` is the path of the request in the message of the
    call, with a dot at its end, or empty if it is that message.
    """

    model: Model
    inputs: tuple[Input, ...]
    max_retries: int | None = None
    upstream_key: str | None = dataclasses.field(default=None, repr=False)
    caller: Caller = ("", "")
    content_bytes: int = 0
    quota: Quota | None = None
    path: str = ""

    def input_path(self, index: int) -> str:
        """Return the path of an input from the message of the call, for instance "inputs[2].audio"."""
        return f"{self.path}inputs[{index}].{self.inputs[index].modality}"

    @property
    def has_audio(self) -> bool:
        """Whether any input is audio: the call then gets the longer default deadline."""
        return any(item.modality is Modality.AUDIO for item in self.inputs)

    def at_once(self, most: int) -> int:
        """Return how many of its inputs may run at a time: at most `most`, or less by its quota."""
        own = self.quota.inputs_in_flight if self.quota is not None else None
        return min(most, own or most)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one request, with their defaults."""

    inputs: int = 256
    image_bytes: int = 32 << 20
    upload_bytes: int = 256 << 20
    text_bytes: int = 64 << 10
    url_chars: int = 8192
