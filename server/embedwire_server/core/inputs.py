"""Requests and their inputs, as plain values.

The content of a caller is in no repr, so that no log or traceback shows it. Seconds are floats.

Nothing changes a value once it is made. Those that each call or segment makes are not declared frozen, because a frozen
instance takes three times as long to make.
"""

import dataclasses
from collections.abc import AsyncGenerator
from typing import ClassVar, Protocol

from embedwire_server.core.models import Modality, Model, Truncate

Caller = tuple[str, str]  # a host, and one of its connections


class Content(Protocol):
    """The bytes of one file, at hand or still arriving."""

    async def ready(self) -> int:
        """Wait until the file is complete and return its size in bytes.

        Raises:
            GatewayError: the file will never be complete, or is not what was declared.
        """
        ...

    def chunks(self) -> AsyncGenerator[bytes]:
        """The whole file from its start, each time it is called, so that an attempt can be repeated."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes of the complete file from `offset` on; beyond its end there are none.

        It may wait for a disk, so call it in a thread; other readers are not disturbed.

        Raises:
            ValueError: the file was closed meanwhile.
            OSError: the disk does not give back what it was given.
        """
        ...

    def close(self) -> None:
        """Give back what the file holds. Idempotent; `chunks` and `ready` may not be waited for any more."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class UrlSource:
    """Media that the upstream fetches. This server never does."""

    url: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class FileSource:
    """Media that this server passes on. The name and the type are the caller's, and checked."""

    content: Content
    file_name: str = dataclasses.field(repr=False)
    media_type: str


Source = UrlSource | FileSource


@dataclasses.dataclass(slots=True)
class TextInput:
    """A text. `truncate` None leaves it to the upstream."""

    modality: ClassVar = Modality.TEXT

    key: str = dataclasses.field(repr=False)
    value: str = dataclasses.field(repr=False)
    truncate: Truncate | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ImageInput:
    """An image."""

    modality: ClassVar = Modality.IMAGE

    key: str = dataclasses.field(repr=False)
    source: Source


@dataclasses.dataclass(frozen=True, slots=True)
class AudioInput:
    """An audio file. `start_offset_sec` None is not sent; the upstream then starts at 0."""

    modality: ClassVar = Modality.AUDIO

    key: str = dataclasses.field(repr=False)
    source: Source
    start_offset_sec: float | None = None


Input = TextInput | ImageInput | AudioInput


def content_of(item: Input) -> Content | None:
    """The file of an input; None for a text and for media behind a URL."""
    if isinstance(item, TextInput) or isinstance(item.source, UrlSource):
        return None
    return item.source.content


@dataclasses.dataclass(frozen=True, slots=True)
class Quota:
    """What one caller, known by its name, may use at a time and in a minute; None is no limit."""

    name: str
    inputs_in_flight: int | None = None
    inputs_per_minute: int | None = None


@dataclasses.dataclass(slots=True)
class EmbedRequest:
    """A checked request: one model, at least one input.

    `max_retries` None leaves the number of attempts to the server's policy; `upstream_key` None uses the server's.
    `caller` shares capacity fairly with other callers. `content_bytes` is the size of the content that came
    with it, without uploads. `quota` is what a caller with a name may use; None is as much as anybody. `path` is
    where the request is in the message of the call, with a dot at its end unless it is that message.
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
        """The path of an input from the message of the call, for instance "inputs[2].audio"."""
        return f"{self.path}inputs[{index}].{self.inputs[index].modality}"

    @property
    def has_audio(self) -> bool:
        """Whether the call gets the longer default deadline."""
        return any(item.modality is Modality.AUDIO for item in self.inputs)

    def at_once(self, most: int) -> int:
        """How many of its inputs may run at a time, of so many."""
        own = self.quota.inputs_in_flight if self.quota is not None else None
        return min(most, own or most)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold; design defaults."""

    inputs: int = 256
    image_bytes: int = 32 << 20
    upload_bytes: int = 256 << 20
    text_bytes: int = 64 << 10
    url_chars: int = 8192
