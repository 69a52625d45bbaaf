"""Response encoding: domain values to protobuf messages."""

import functools
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.errors import GatewayError
from embedwire_server.core.inputs import Limits
from embedwire_server.core.models import AudioRules, Modality, Model
from embedwire_server.core.results import CacheStatus, ReplySummary, Segment, Stage
from embedwire_server.rpc import durations, error_details
from embedwire_server.upstreams.base import EmbedCall

FLOAT32_BYTES = 4

Response = TypeVar("Response", pb.CreateEmbeddingResponse, pb.CreateEmbeddingFromUploadResponse)


def write_vector(message: pb.Vector, data: bytes, encoding: pb.VectorEncoding.ValueType) -> None:
    """Write a vector of packed float32 into an empty message, in the requested encoding."""
    if encoding == pb.VECTOR_ENCODING_FLOAT32_LE:
        message.dimensions = len(data) // FLOAT32_BYTES
        message.float32_le = data
    else:
        # Packed little-endian float32 is also the wire format of `repeated float`: the message is assembled from its
        # tags and lengths and the bytes, without a list of floats.
        message.MergeFromString(_before_values(len(data)) + data)


def write_segment(
    message: pb.Segment, call: EmbedCall, number: int, segment: Segment, encoding: pb.VectorEncoding.ValueType
) -> None:
    """Write one segment into an empty message, in place: copying a finished one costs as much as writing it."""
    message.input_index = call.index
    message.input_key = call.input.key
    message.segment_index = number
    write_vector(message.vector, segment.vector, encoding)
    if segment.uncertainty is not None:
        write_vector(message.uncertainty, segment.uncertainty, encoding)
    if call.modality is Modality.TEXT:
        message.text.SetInParent()
    elif call.modality is Modality.IMAGE:
        message.image.SetInParent()
    else:
        audio = message.audio
        audio.start_offset_sec = segment.start_offset_sec or 0.0  # sets the oneof to audio, also if it is 0
        audio.embedding_option = segment.embedding_option
        audio.embedding_scope = segment.embedding_scope
        if segment.end_offset_sec is not None:
            audio.end_offset_sec = segment.end_offset_sec


def write_result(
    message: pb.InputResult, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None
) -> None:
    """Write the result of one input into an empty message."""
    message.input_index = call.index
    message.input_key = call.input.key
    message.segment_count = call.segments
    message.attempts = call.attempts
    message.upstream = call.upstream
    message.upstream_task_id = call.task_id
    if call.cache_status is not None:
        message.cache_status = _CACHE_STATUSES[call.cache_status]
    _write_timings(message.timings, call)
    if failure is not None:
        message.failure.CopyFrom(error_details.failure_message(failure))
    elif summary is not None:
        message.model_name = summary.model_name
        message.dimensions = call.model.dimensions
        if summary.input_url is not None:
            message.metadata.input_url = summary.input_url
        elif summary.input_filename is not None:
            message.metadata.input_filename = summary.input_filename
        if summary.truncated is not None:
            message.truncated = summary.truncated
        if summary.media_duration_sec is not None:
            message.media_duration_sec = summary.media_duration_sec
        if summary.input_tokens:
            message.input_tokens.update(summary.input_tokens)


def write_progress(message: pb.InputProgress, call: EmbedCall, stage: Stage) -> None:
    """Write a new stage of one input into an empty message."""
    message.input_index = call.index
    message.input_key = call.input.key
    message.stage = _STAGES[stage]
    message.upstream_task_id = call.task_id


_CACHE_STATUSES = {
    CacheStatus.HIT: pb.CACHE_STATUS_HIT,
    CacheStatus.COALESCED: pb.CACHE_STATUS_COALESCED,
    CacheStatus.MISS: pb.CACHE_STATUS_MISS,
}
_STAGES = {
    Stage.UPLOADING: pb.PROGRESS_STAGE_UPLOADING,
    Stage.PREPARING: pb.PROGRESS_STAGE_PREPARING,
    Stage.PROCESSING: pb.PROGRESS_STAGE_PROCESSING,
}


def ignore_stage(_: EmbedCall) -> None:
    """Do nothing with a new stage."""


class StreamReply(Generic[Response]):
    """Writes segments and results as the responses of a streaming method; see `gateway.Reply`.

    Args:
        response: the type of the responses.
        encoding: the encoding of vectors.
        inputs: the number of results to expect.
        segments_per_message: the most segments of one response; 0 and 1 give each event a response of its own.
        write: sends a response.
        follow: called with the input at each new stage of it.

    Attributes:
        last: the last response, once it is known. It is not written, but sent together with the status.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - how a call's responses are written
        self,
        response: type[Response],
        encoding: pb.VectorEncoding.ValueType,
        inputs: int,
        segments_per_message: int,
        write: Callable[[Response], Awaitable[None]],
        follow: Callable[[EmbedCall], None] = ignore_stage,
    ) -> None:
        self._response: type[Response] = response
        self._encoding = encoding
        self._left = inputs
        self._segments_per_message = max(1, segments_per_message)
        self._held: dict[int, Response] = {}  # by input: its only segment, which is sent together with its result
        self._write: Callable[[Response], Awaitable[None]] = write
        self._follow: Callable[[EmbedCall], None] = follow
        self.last: Response | None = None

    async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
        """Write segments, in as few responses as the caller has allowed.

        The first segment of a text or an image is held: it is the only one, and its result follows immediately.
        """
        if call.index in self._held:
            await self._write(self._held.pop(call.index))
        most = self._segments_per_message
        for start in range(0, len(segments), most):
            response = self._response()
            for number, segment in enumerate(segments[start : start + most], first + start):
                write_segment(response.events.add().segment, call, number, segment, self._encoding)
            if most > 1 and first + len(segments) == 1 and call.modality is not Modality.AUDIO:
                self._held[call.index] = response
            else:
                await self._write(response)

    async def add_progress(self, call: EmbedCall, stage: Stage) -> None:
        """Write a stage in a response of its own."""
        self._follow(call)
        response = self._response()
        write_progress(response.events.add().progress, call, stage)
        await self._write(response)

    async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
        """Write a result, or keep it if it is the last one."""
        response = self._held.pop(call.index, None) or self._response()
        write_result(response.events.add().result, call, summary, failure)
        self._left -= 1
        if self._left:
            await self._write(response)
        else:
            self.last = response


def model(row: Model, limits: Limits) -> pb.Model:
    """Encode one model, with the lower of its own and the server's limits."""
    message = pb.Model(
        name=row.name,
        aliases=row.aliases,
        dimensions=row.dimensions,
        supported_dimensions=sorted({row.dimensions, *row.supported_dimensions}),
        supports_uncertainty=row.supports_uncertainty,
        upstreams=row.upstreams,
    )
    if row.text is not None:
        message.text.max_tokens = row.text.max_tokens
        message.text.max_bytes = limits.text_bytes
        message.text.truncates.extend(pb.Truncate.Value(f"TRUNCATE_{value.name}") for value in row.text.truncates)
    if row.image is not None:
        message.image.media_types.extend(row.image.media_types)
        message.image.max_bytes = min(row.image.max_bytes, limits.image_bytes)
        message.image.min_side_px = row.image.min_side_px
    if row.audio is not None:
        _write_audio(message.audio, row.audio, limits)
    return message


def _write_audio(message: pb.AudioSupport, rules: AudioRules, limits: Limits) -> None:
    message.media_types.extend(rules.media_types)
    message.max_bytes = min(rules.max_bytes or limits.upload_bytes, limits.upload_bytes)
    message.max_sync_duration_sec = rules.max_sync_seconds or 0.0
    message.max_duration_sec = (rules.max_task_seconds if rules.has_tasks else rules.max_sync_seconds) or 0.0
    message.embedding_options.extend(rules.options)
    message.embedding_scopes.extend(rules.scopes)
    message.embedding_types.extend(rules.types)
    for limits_of, segmentation in (
        (rules.fixed_segmentation, message.fixed_segmentation),
        (rules.dynamic_segmentation, message.dynamic_segmentation),
    ):
        if limits_of is not None:
            segmentation.min_sec, segmentation.max_sec = limits_of
    message.processing_modes.append(pb.PROCESSING_MODE_SYNC)
    if rules.has_tasks:
        message.processing_modes.append(pb.PROCESSING_MODE_TASK)


def _write_timings(message: pb.Timings, call: EmbedCall) -> None:
    durations.write(message.queue, call.queue)
    durations.write(message.upload, call.upload)
    durations.write(message.upstream, call.waiting)
    durations.write(message.decode, call.decode)


@functools.lru_cache(64)  # one entry for each length of vectors
def _before_values(size: int) -> bytes:
    """Encode all of a vector message that precedes `size` bytes of values."""
    dimensions = pb.Vector(dimensions=size // FLOAT32_BYTES).SerializeToString()
    values = _VALUES_TAG + _varint(size) if size else b""
    return dimensions + _FLOAT_VALUES_TAG + _varint(len(values) + size) + values


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_LENGTH_DELIMITED = 2
_FLOAT_VALUES_TAG = _varint(pb.Vector.FLOAT_VALUES_FIELD_NUMBER << 3 | _LENGTH_DELIMITED)
_VALUES_TAG = _varint(pb.FloatValues.VALUES_FIELD_NUMBER << 3 | _LENGTH_DELIMITED)
