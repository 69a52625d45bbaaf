"""Embedding requests and their inputs, as plain values.

Content of callers is in no repr, so that no log or traceback shows it. Seconds are floats.

All values are immutable by convention. Those created for each call or segment are not declared frozen, because creating
a frozen instance takes three times as long.
"""

import dataclasses
import enum
import re
from collections.abc import AsyncGenerator
from typing import ClassVar, Literal, Protocol

from embedwire_server.core.models import Modality, Model, Truncate
from embedwire_server.core.totals import Totals

UPSTREAM_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")  # of an asset or a task
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


@dataclasses.dataclass(frozen=True, slots=True)
class AssetSource:
    """Media that the upstream already has, by its identifier there."""

    id: str


@dataclasses.dataclass(frozen=True, slots=True)
class TaskSource:
    """Earlier task of the upstream, by its identifier there: its result is returned."""

    id: str


Source = UrlSource | FileSource | AssetSource | TaskSource


class ProcessingMode(enum.Enum):
    """Way in which the upstream processes audio."""

    AUTO = "auto"
    SYNC = "sync"
    TASK = "task"


@dataclasses.dataclass(frozen=True, slots=True)
class Segmentation:
    """Division of audio into windows: of `seconds` each if it is fixed, else of at least `seconds`."""

    method: Literal["fixed", "dynamic"]
    seconds: int


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
    """Audio input.

    Attributes:
        key: the caller's.
        source: the file.
        start_offset_sec: seconds; None is not sent, and the upstream starts at 0.
        end_offset_sec: seconds; None is not sent, and the upstream ends at the end.
        segmentation: None is the model's default.
        options: embedding options; empty is all of the model's.
        scopes: embedding scopes; empty is "clip".
        types: embedding types; empty is "separate_embedding".
        mode: how the upstream processes it.
    """

    modality: ClassVar = Modality.AUDIO

    key: str = dataclasses.field(repr=False)
    source: Source
    start_offset_sec: float | None = None
    end_offset_sec: float | None = None
    segmentation: Segmentation | None = None
    options: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    mode: ProcessingMode = ProcessingMode.AUTO

    @property
    def has_selection(self) -> bool:
        """Whether it has a setting that only the v2 API supports."""
        return bool(self.end_offset_sec is not None or self.segmentation or self.options or self.scopes or self.types)


Input = TextInput | ImageInput | AudioInput


def content_of(item: Input) -> Content | None:
    """Return the content of a file input; None for a text and for media that the upstream gets elsewhere."""
    if isinstance(item, TextInput) or not isinstance(item.source, FileSource):
        return None
    return item.source.content


def upstream_id_of(item: Input) -> tuple[Literal["", "asset", "task"], str]:
    """Return the kind and the identifier of what the upstream already has; empty for other inputs."""
    if not isinstance(item, TextInput) and isinstance(item.source, AssetSource):
        return "asset", item.source.id
    if not isinstance(item, TextInput) and isinstance(item.source, TaskSource):
        return "task", item.source.id
    return "", ""


def needs_task(model: Model, item: AudioInput) -> bool:
    """Whether audio is processed as a task whatever its size and duration."""
    if item.mode is ProcessingMode.TASK or isinstance(item.source, TaskSource):
        return True
    needs = model.audio is not None and model.audio.segments_need_task
    return needs and item.mode is ProcessingMode.AUTO


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
    call, with a dot at its end, or empty if it is that message. `has_uncertainty` requests the uncertainty of vectors.
    `totals` collects what its inputs use.
    """

    model: Model
    inputs: tuple[Input, ...]
    max_retries: int | None = None
    upstream_key: str | None = dataclasses.field(default=None, repr=False)
    caller: Caller = ("", "")
    content_bytes: int = 0
    quota: Quota | None = None
    path: str = ""
    has_uncertainty: bool = False
    totals: Totals = dataclasses.field(default_factory=Totals)

    @property
    def tenant(self) -> str:
        """Name of the caller's token; empty without one."""
        return self.quota.name if self.quota is not None else ""

    def input_path(self, index: int) -> str:
        """Return the path of an input from the message of the call, for instance "inputs[2].audio"."""
        return f"{self.path}inputs[{index}].{self.inputs[index].modality}"

    @property
    def has_audio(self) -> bool:
        """Whether any input is audio: the call then gets the longer default deadline."""
        return any(item.modality is Modality.AUDIO for item in self.inputs)

    @property
    def has_task(self) -> bool:
        """Whether any input certainly needs a task: the call then gets the longest default deadline."""
        return any(isinstance(item, AudioInput) and needs_task(self.model, item) for item in self.inputs)

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
