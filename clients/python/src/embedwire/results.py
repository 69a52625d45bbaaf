"""Response types: segments, results and progress of a stream, complete embeddings, models.

All are frozen. Durations are seconds as floats; vectors are float32 (see `embedwire.vectors.Vector`).
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from embedwire.errors import Failure
from embedwire.vectors import HAS_NUMPY, Vector

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Modality = Literal["text", "image", "audio", "unknown"]
Stage = Literal["uploading", "preparing", "processing", "unknown"]
CacheStatus = Literal["hit", "coalesced", "miss", "unknown"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One vector of one input. It is provisional: a failed `Result` of the same input invalidates it.

    Attributes:
        input_index: index of the input in the request, from 0; in `map`, its position in the iterable.
        input_key: key of the input.
        segment_index: index of the segment within the input, from 0, in the order of the upstream.
        modality: modality of the input; "unknown" if it is newer than this client.
        vector: embedding, float32, of shape (dimensions,).
        start_offset_sec: start of the window, in seconds from the beginning of the file; None unless audio.
        end_offset_sec: end of the window, in seconds; None unless audio, or if the upstream does not report it.
        embedding_option: aspect of the audio, for instance "audio" or "transcription"; empty unless audio, or if the
            upstream does not report it.
        embedding_scope: scope of the segment, "clip" for a window or "asset" for the whole file; empty unless audio, or
            if the upstream does not report it.
        uncertainty: uncertainty of each value of the vector, float32, of shape (dimensions,); None unless
            `include_uncertainty` was set and the upstream returned it.
    """

    input_index: int
    input_key: str = dataclasses.field(repr=False)
    segment_index: int
    modality: Modality
    vector: Vector = dataclasses.field(repr=False)
    start_offset_sec: float | None = None
    end_offset_sec: float | None = None
    embedding_option: str = ""
    embedding_scope: str = ""
    uncertainty: Vector | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Timings:
    """Time that one input spent in each phase, in seconds.

    Attributes:
        queue: waiting in the queues of the server.
        upload: waiting for the bytes of an upload.
        upstream: waiting for the upstream, all attempts together.
        decode: decoding the upstream's response.
    """

    queue: float
    upload: float
    upstream: float
    decode: float


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """Result of one input, sent after its last segment. If it has a failure, the segments are invalid.

    Attributes:
        input_index: index of the input in the request, from 0; in `map`, its position in the iterable.
        input_key: key of the input.
        model_name: model name as reported by the upstream; empty if the input failed.
        dimensions: length of each vector; 0 if the input failed.
        segment_count: number of segments of this input.
        input_url: URL of the media, as reported by the upstream; None for other sources.
        input_filename: name of the file, as reported by the upstream; None for other sources.
        truncated: whether the input was truncated; None if the upstream does not report it.
        media_duration_sec: duration of the audio in seconds; None if the upstream does not report it.
        attempts: number of upstream requests.
        timings: time spent in each phase.
        upstream: kind of upstream: "twelvelabs", "sandbox" or "custom". Vectors of the sandbox are synthetic; do not
            store them in a production index.
        failure: failure of the input; None means success.
        request_id: id of the call in the server's log.
        input_tokens: number of input tokens by kind of content, for instance "audio", as reported by the upstream.
        upstream_task_id: identifier of the upstream's task; empty if there was none.
        cache_status: whether the server reused a result: "hit", from its cache; "coalesced", from the upstream request
            of an identical input in flight; "miss", neither; "unknown" if it is newer than this client. None if the
            server does not reuse results of such inputs.
    """

    input_index: int
    input_key: str = dataclasses.field(repr=False)
    model_name: str
    dimensions: int
    segment_count: int
    input_url: str | None = dataclasses.field(repr=False)
    input_filename: str | None = dataclasses.field(repr=False)
    truncated: bool | None
    media_duration_sec: float | None
    attempts: int
    timings: Timings
    upstream: str
    failure: Failure | None
    request_id: str
    input_tokens: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)
    upstream_task_id: str = ""
    cache_status: CacheStatus | None = None

    def raise_for_failure(self) -> None:
        """Raise the failure of the input, if there is one.

        Raises:
            EmbedwireError: the input failed.
        """
        if self.failure is not None:
            raise self.failure.error(self.request_id, self.attempts)


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """A new stage of one input, before its first segment, if the upstream processes it as an asset or as a task.

    Attributes:
        input_index: index of the input in the request, from 0; in `map`, its position in the iterable.
        input_key: key of the input.
        stage: stage that has begun: "uploading", the file is sent to the upstream; "preparing", the upstream prepares
            the file; "processing", the upstream computes the embeddings in a task; "unknown" if it is newer than this
            client. A stage may be repeated.
        upstream_task_id: identifier of the upstream's task, from the stage "processing" on; else empty. With it,
            `Audio(task_id=...)` gets the result, also if this call ends before.
    """

    input_index: int
    input_key: str = dataclasses.field(repr=False)
    stage: Stage
    upstream_task_id: str = ""


Event = Segment | Result | Progress


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Result and segments of one input.

    Attributes:
        result: result of the input.
        segments: segments in order; empty if the input failed.
    """

    result: Result
    segments: tuple[Segment, ...]

    @property
    def failure(self) -> Failure | None:
        """Failure of the input; None means success."""
        return self.result.failure

    @property
    def vector(self) -> Vector:
        """Vector of an input with one segment, such as a text or an image: float32, of shape (dimensions,).

        Raises:
            EmbedwireError: the input failed.
            ValueError: there are several segments, as with audio.
        """
        self.result.raise_for_failure()
        if len(self.segments) != 1:
            raise ValueError(f"the input has {len(self.segments)} segments; use `segments` or `matrix()`")
        return self.segments[0].vector

    def matrix(self) -> "npt.NDArray[np.float32]":
        """Return all vectors as one numpy array: float32, of shape (segments, dimensions).

        Raises:
            EmbedwireError: the input failed.
            ImportError: numpy is not installed; the extra `embedwire[numpy]` includes it.
        """
        self.result.raise_for_failure()
        if not HAS_NUMPY:
            raise ImportError("matrix() needs numpy: pip install 'embedwire[numpy]'")
        import numpy as np  # noqa: PLC0415 - optional

        return np.stack([np.asarray(segment.vector) for segment in self.segments])


@dataclasses.dataclass(frozen=True, slots=True)
class TextSupport:
    """Text support of a model.

    Attributes:
        max_tokens: maximum length in tokens, for information: the upstream's tokenizer is not public.
        truncates: supported values of `Text.truncate`.
        max_bytes: maximum length in bytes of UTF-8 that the server accepts.
    """

    max_tokens: int
    truncates: tuple[str, ...]
    max_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSupport:
    """Image support of a model.

    Attributes:
        media_types: accepted media types, for instance "image/png".
        max_bytes: maximum file size in bytes.
        min_side_px: minimum width and height in pixels.
    """

    media_types: tuple[str, ...]
    max_bytes: int
    min_side_px: int


@dataclasses.dataclass(frozen=True, slots=True)
class SegmentationRange:
    """Range of the duration of a segmentation, both ends included.

    Attributes:
        min_sec: minimum in seconds.
        max_sec: maximum in seconds.
    """

    min_sec: int
    max_sec: int


@dataclasses.dataclass(frozen=True, slots=True)
class AudioSupport:
    """Audio support of a model.

    Attributes:
        media_types: accepted media types, for instance "audio/mpeg".
        max_bytes: maximum file size in bytes.
        max_sync_duration_sec: maximum duration in seconds with the processing mode "sync"; 0 if it is not known.
        max_duration_sec: maximum duration in seconds in any mode; 0 if it is not known.
        embedding_options: supported values of `Audio.embedding_options`; empty if they cannot be selected.
        embedding_scopes: supported values of `Audio.embedding_scopes`.
        embedding_types: supported values of `Audio.embedding_types`.
        fixed_segmentation: range of `FixedSegmentation.duration_sec`; None if unsupported.
        dynamic_segmentation: range of `DynamicSegmentation.min_duration_sec`; None if unsupported.
        processing_modes: supported values of `Audio.processing_mode`.
    """

    media_types: tuple[str, ...]
    max_bytes: int
    max_sync_duration_sec: float = 0.0
    max_duration_sec: float = 0.0
    embedding_options: tuple[str, ...] = ()
    embedding_scopes: tuple[str, ...] = ()
    embedding_types: tuple[str, ...] = ()
    fixed_segmentation: SegmentationRange | None = None
    dynamic_segmentation: SegmentationRange | None = None
    processing_modes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A model: its names, and what it accepts and returns.

    Attributes:
        name: name for requests.
        aliases: other accepted names.
        dimensions: length of each vector. Vectors of different models are not comparable.
        text: text support; None if unsupported.
        image: image support; None if unsupported.
        audio: audio support; None if unsupported.
        supported_dimensions: supported values of the option `dimensions`, in ascending order.
        supports_uncertainty: whether the model returns `Segment.uncertainty`.
        upstreams: kinds of upstream that have the model, as in `Result.upstream`; empty if it is not known.
    """

    name: str
    aliases: tuple[str, ...]
    dimensions: int
    text: TextSupport | None
    image: ImageSupport | None
    audio: AudioSupport | None
    supported_dimensions: tuple[int, ...] = ()
    supports_uncertainty: bool = False
    upstreams: tuple[str, ...] = ()
