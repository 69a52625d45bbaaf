"""Response encoding: domain values to protobuf messages."""

import functools
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from embedwire_server.core.errors import GatewayError, UpstreamErrorInfo
from embedwire_server.core.inputs import Limits
from embedwire_server.core.models import Modality, Model
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.rpc import status
from embedwire_server.upstreams.base import EmbedCall

FLOAT32_BYTES = 4

Response = TypeVar("Response", pb.CreateEmbeddingResponse, pb.CreateEmbeddingFromUploadResponse)


def write_vector(message: pb.Vector, data: bytes, encoding: pb.VectorEncoding.ValueType) -> None:
    """Write a vector of packed float32 into an empty message, in the requested encoding."""
    if encoding == pb.VECTOR_ENCODING_FLOAT32_LE:
        message.data = data
        message.encoding = encoding
        message.dimensions = len(data) // FLOAT32_BYTES
    else:
        # Packed little-endian float32 is also the wire format of `repeated float`: the field is assembled from its tag,
        # its length and the bytes, without a list of floats.
        message.MergeFromString(_before_values(len(data)) + data)


def write_segment(
    message: pb.Segment, call: EmbedCall, number: int, segment: Segment, encoding: pb.VectorEncoding.ValueType
) -> None:
    """Write one segment into an empty message, in place: copying a finished one costs as much as writing it."""
    message.input_index = call.index
    message.input_key = call.input.key
    message.segment_index = number
    write_vector(message.vector, segment.vector, encoding)
    if call.modality is Modality.TEXT:
        message.text.SetInParent()
    elif call.modality is Modality.IMAGE:
        message.image.SetInParent()
    else:
        audio = message.audio
        audio.start_offset_sec = segment.start_offset_sec or 0.0  # sets the oneof to audio, also if it is 0
        audio.embedding_option = segment.embedding_option
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
    _write_timings(message.timings, call)
    if failure is not None:
        message.failure.CopyFrom(failure_message(failure))
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


class StreamReply(Generic[Response]):
    """Writes segments and results as the responses of a streaming method; see `gateway.Reply`.

    Args:
        response: the type of the responses.
        encoding: the encoding of vectors.
        inputs: the number of results to expect.
        write: sends a response.

    Attributes:
        last: the last response, once it is known. It is not written, but sent together with the status.
    """

    def __init__(
        self,
        response: type[Response],
        encoding: pb.VectorEncoding.ValueType,
        inputs: int,
        write: Callable[[Response], Awaitable[None]],
    ) -> None:
        self._response: type[Response] = response
        self._encoding = encoding
        self._left = inputs
        self._write: Callable[[Response], Awaitable[None]] = write
        self.last: Response | None = None

    async def add_segments(self, call: EmbedCall, first: int, segments: list[Segment]) -> None:
        """Write segments, one response for each."""
        for number, segment in enumerate(segments, first):
            response = self._response()
            write_segment(response.segment, call, number, segment, self._encoding)
            await self._write(response)

    async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
        """Write a result, or keep it if it is the last one."""
        response = self._response()
        write_result(response.result, call, summary, failure)
        self._left -= 1
        if self._left:
            await self._write(response)
        else:
            self.last = response


def failure_message(error: GatewayError) -> pb.Failure:
    """Encode the failure of one input."""
    message = pb.Failure(
        code=status.code(error).value[0],
        reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason}"),
        message=status.text(error),
        field_violations=[
            pb.FieldViolation(field=violation.field, description=violation.description)
            for violation in status.listed(error.violations)
        ],
        quota_violations=[
            pb.QuotaViolation(subject=quota.subject, description=quota.description) for quota in error.quotas
        ],
        cause=error.cause or "",
    )
    if error.retry_delay is not None:
        message.retry_delay.CopyFrom(status.duration(error.retry_delay))
    if error.upstream is not None:
        message.upstream_error.CopyFrom(_upstream_error(error.upstream))
    return message


def model(row: Model, limits: Limits) -> pb.Model:
    """Encode one model, with the lower of its own and the server's limits."""
    message = pb.Model(name=row.name, aliases=row.aliases, dimensions=row.dimensions)
    if row.text is not None:
        message.text.max_tokens = row.text.max_tokens
        message.text.max_bytes = limits.text_bytes
        message.text.truncates.extend(pb.Truncate.Value(f"TRUNCATE_{value.name}") for value in row.text.truncates)
    if row.image is not None:
        message.image.media_types.extend(row.image.media_types)
        message.image.max_bytes = min(row.image.max_bytes, limits.image_bytes)
        message.image.min_side_px = row.image.min_side_px
    if row.audio is not None:
        message.audio.media_types.extend(row.audio.media_types)
        message.audio.max_bytes = min(row.audio.max_bytes or limits.upload_bytes, limits.upload_bytes)
    return message


def _write_timings(message: pb.Timings, call: EmbedCall) -> None:
    status.write_duration(message.queue, call.queue)
    status.write_duration(message.upload, call.upload)
    status.write_duration(message.upstream, call.waiting)
    status.write_duration(message.decode, call.decode)


def _upstream_error(info: UpstreamErrorInfo) -> pb.UpstreamError:
    return pb.UpstreamError(
        http_status=info.http_status,
        code=info.code,
        message=info.message,
        docs_url=info.docs_url,
        rate_limit_headers=dict(info.rate_limit_headers),
    )


@functools.lru_cache(64)  # one entry for each length of vectors
def _before_values(size: int) -> bytes:
    """Encode all of a vector message that precedes `size` bytes of values."""
    rest = pb.Vector(encoding=pb.VECTOR_ENCODING_FLOAT_VALUES, dimensions=size // FLOAT32_BYTES)
    return rest.SerializeToString() + _VALUES_TAG + _varint(size)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_LENGTH_DELIMITED = 2
_VALUES_TAG = _varint(pb.Vector.VALUES_FIELD_NUMBER << 3 | _LENGTH_DELIMITED)
