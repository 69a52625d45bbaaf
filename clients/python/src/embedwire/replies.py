"""Decoding of response messages to events, results and models."""

from collections.abc import Iterator

from embedwire.details import failure, seconds
from embedwire.errors import Failure, GatewayError
from embedwire.results import (
    AudioSupport,
    CacheStatus,
    Embedding,
    Event,
    ImageSupport,
    Modality,
    Model,
    Progress,
    Result,
    Segment,
    SegmentationRange,
    Stage,
    TextSupport,
    Timings,
)
from embedwire.v1 import embedding_pb2 as pb
from embedwire.vectors import Vector, decode

Response = pb.CreateEmbeddingResponse | pb.CreateEmbeddingFromUploadResponse

_MODALITIES: dict[str | None, Modality] = {"text": "text", "image": "image", "audio": "audio"}
_STAGES: "dict[pb.ProgressStage.ValueType, Stage]" = {
    pb.PROGRESS_STAGE_UPLOADING: "uploading",
    pb.PROGRESS_STAGE_PREPARING: "preparing",
    pb.PROGRESS_STAGE_PROCESSING: "processing",
}
_CACHE_STATUSES: "dict[pb.CacheStatus.ValueType, CacheStatus | None]" = {
    pb.CACHE_STATUS_UNSPECIFIED: None,
    pb.CACHE_STATUS_HIT: "hit",
    pb.CACHE_STATUS_COALESCED: "coalesced",
    pb.CACHE_STATUS_MISS: "miss",
}
_PROCESSING_MODES = {pb.PROCESSING_MODE_SYNC: "sync", pb.PROCESSING_MODE_TASK: "task"}
_TRUNCATES = {pb.TRUNCATE_NONE: "none", pb.TRUNCATE_START: "start", pb.TRUNCATE_END: "end"}


def events(message: Response, request_id: str) -> Iterator[Event]:
    """Decode the events of a message. Unknown events are skipped, as the contract requires."""
    for event in message.events:
        kind = event.WhichOneof("event")
        if kind == "segment":
            yield segment(event.segment, request_id)
        elif kind == "result":
            yield result(event.result, request_id)
        elif kind == "progress":
            yield progress(event.progress)


def segment(message: pb.Segment, request_id: str = "") -> Segment:
    """Decode a segment."""
    modality = _MODALITIES.get(message.WhichOneof("modality"), "unknown")
    audio = message.audio if modality == "audio" else None
    return Segment(
        message.input_index,
        message.input_key,
        message.segment_index,
        modality,
        _vector(message.vector, request_id),
        None if audio is None else audio.start_offset_sec,
        audio.end_offset_sec if audio is not None and audio.HasField("end_offset_sec") else None,
        "" if audio is None else audio.embedding_option,
        "" if audio is None else audio.embedding_scope,
        _vector(message.uncertainty, request_id) if message.HasField("uncertainty") else None,
    )


def progress(message: pb.InputProgress) -> Progress:
    """Decode the progress of an input."""
    stage = _STAGES.get(message.stage, "unknown")
    return Progress(message.input_index, message.input_key, stage, message.upstream_task_id)


def result(message: pb.InputResult, request_id: str) -> Result:
    """Decode the result of an input."""
    origin, timings = message.metadata.WhichOneof("origin"), message.timings
    return Result(
        message.input_index,
        message.input_key,
        message.model_name,
        message.dimensions,
        message.segment_count,
        message.metadata.input_url if origin == "input_url" else None,
        message.metadata.input_filename if origin == "input_filename" else None,
        message.truncated if message.HasField("truncated") else None,
        message.media_duration_sec if message.HasField("media_duration_sec") else None,
        message.attempts,
        Timings(seconds(timings.queue), seconds(timings.upload), seconds(timings.upstream), seconds(timings.decode)),
        message.upstream,
        failure(message.failure) if message.HasField("failure") else None,
        request_id,
        dict(message.input_tokens),
        message.upstream_task_id,
        _CACHE_STATUSES.get(message.cache_status, "unknown"),
    )


def _vector(message: pb.Vector, request_id: str) -> Vector:
    try:
        return decode(message)
    except ValueError:
        raise _invalid_response("the server sent an invalid vector", request_id) from None


def _invalid_response(message: str, request_id: str) -> GatewayError:
    return GatewayError(Failure("INTERNAL", "INTERNAL", message), request_id)


def unary_response(message: pb.CreateEmbeddingUnaryResponse, request_id: str) -> Embedding:
    """Decode the response of a unary call with one input.

    Raises:
        GatewayError: it does not have exactly one result, or a vector is invalid.
    """
    if len(message.embeddings) != 1:
        raise _invalid_response(f"the server answered {len(message.embeddings)} inputs of 1", request_id)
    item = message.embeddings[0]
    return Embedding(result(item.result, request_id), tuple(segment(each, request_id) for each in item.segments))


class Collector:
    """Collector of the events of a call. Discards the segments of inputs that failed, and progress.

    Args:
        inputs: number of inputs of the request.
        request_id: id of the call.
    """

    def __init__(self, inputs: int, request_id: str) -> None:
        self._segments: list[list[Segment]] = [[] for _ in range(inputs)]
        self._embeddings: dict[int, Embedding] = {}
        self._request_id = request_id

    def add(self, event: Event) -> Embedding | None:
        """Add an event. Return the embedding that it completes, or None for other events."""
        if event.input_index >= len(self._segments):
            raise _invalid_response(
                f"the server answered inputs[{event.input_index}], which does not exist", self._request_id
            )
        segments = self._segments[event.input_index]
        if isinstance(event, Segment):
            segments.append(event)
        if not isinstance(event, Result):
            return None
        embedding = Embedding(event, () if event.failure is not None else tuple(segments))
        segments.clear()
        self._embeddings[event.input_index] = embedding
        return embedding

    def embeddings(self) -> list[Embedding]:
        """Return one embedding for each input, in the order of the request.

        Raises:
            GatewayError: an input has no result although the call succeeded, which violates the contract.
        """
        for index in range(len(self._segments)):
            if index not in self._embeddings:
                message = f"the server ended the call without a result for inputs[{index}]"
                raise _invalid_response(message, self._request_id)
        return [self._embeddings[index] for index in range(len(self._segments))]


def model(message: pb.Model) -> Model:
    """Decode a model."""
    text, image = message.text, message.image
    return Model(
        message.name,
        tuple(message.aliases),
        message.dimensions,
        TextSupport(text.max_tokens, tuple(_TRUNCATES.get(item, str(item)) for item in text.truncates), text.max_bytes)
        if message.HasField("text")
        else None,
        ImageSupport(tuple(image.media_types), image.max_bytes, image.min_side_px)
        if message.HasField("image")
        else None,
        _audio_support(message.audio) if message.HasField("audio") else None,
        tuple(message.supported_dimensions),
        message.supports_uncertainty,
        tuple(message.upstreams),
    )


def _audio_support(audio: pb.AudioSupport) -> AudioSupport:
    return AudioSupport(
        tuple(audio.media_types),
        audio.max_bytes,
        audio.max_sync_duration_sec,
        audio.max_duration_sec,
        tuple(audio.embedding_options),
        tuple(audio.embedding_scopes),
        tuple(audio.embedding_types),
        _range(audio.fixed_segmentation) if audio.HasField("fixed_segmentation") else None,
        _range(audio.dynamic_segmentation) if audio.HasField("dynamic_segmentation") else None,
        tuple(_PROCESSING_MODES.get(item, str(item)) for item in audio.processing_modes),
    )


def _range(message: pb.SegmentationRange) -> SegmentationRange:
    return SegmentationRange(message.min_sec, message.max_sec)
