"""The requests, and checks of the replies."""

import io
import wave
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import bodies
from embedwire.v1 import embedding_pb2 as pb

CHUNK_BYTES = 64 << 10  # chunk size of an upload
PATH = "/embedwire.v1.EmbeddingService/"
_TEXT = pb.Input(text=pb.TextInput(value="a red fox jumps over a lazy dog"))
_AUDIO = pb.Input(audio=pb.AudioInput(source=pb.MediaSource(url="https://media.example/two-hours.mp3")))
_PACKED = pb.VECTOR_ENCODING_FLOAT32_LE  # the encoding that clients request


def of(item: pb.Input, per_message: int = 1) -> pb.CreateEmbeddingRequest:
    """Return a request for one input, with this many segments in a message."""
    return pb.CreateEmbeddingRequest(
        model_name=bodies.MODEL, inputs=[item], vector_encoding=_PACKED, max_segments_per_message=per_message
    )


def text(per_message: int = 1) -> pb.CreateEmbeddingRequest:
    return of(_TEXT, per_message)


def text_unary() -> pb.CreateEmbeddingUnaryRequest:
    return pb.CreateEmbeddingUnaryRequest(model_name=bodies.MODEL, inputs=[_TEXT], vector_encoding=_PACKED)


def audio(per_message: int = 1) -> pb.CreateEmbeddingRequest:
    return of(_AUDIO, per_message)


def task(source: pb.MediaSource) -> pb.CreateEmbeddingRequest:
    """Return a request for audio that is processed as a task, or for the result of a task."""
    mode = pb.PROCESSING_MODE_UNSPECIFIED if source.HasField("task") else pb.PROCESSING_MODE_TASK
    item = pb.Input(audio=pb.AudioInput(source=source, processing_mode=mode))
    return pb.CreateEmbeddingRequest(model_name=bodies.TASK_MODEL, inputs=[item], vector_encoding=_PACKED)


def upload(data: bytes, *, is_task: bool = False) -> Iterator[pb.CreateEmbeddingFromUploadRequest]:
    """Return an audio file in chunks, as a client sends it."""
    source = pb.UploadSource(file_name="sound.wav", media_type="audio/wav", size_bytes=len(data))
    media = pb.MediaSource(upload=source)
    first = task(media) if is_task else of(pb.Input(audio=pb.AudioInput(source=media)))
    yield pb.CreateEmbeddingFromUploadRequest(request=first)
    for start in range(0, len(data), CHUNK_BYTES):
        piece, is_last = data[start : start + CHUNK_BYTES], start + CHUNK_BYTES >= len(data)
        yield pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(data=piece, last=is_last))


def sound(size: int) -> bytes:
    """Return a WAV file of about this size."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(bytes(size))
    return out.getvalue()


def framed(*messages: Any) -> bytes:
    """Return messages with their gRPC frames."""
    return b"".join(
        b"\0" + len(data).to_bytes(4, "big") + data for data in (message.SerializeToString() for message in messages)
    )


def check(
    segments: Sequence[pb.Segment], result: pb.InputResult, expected: int, dimensions: int = bodies.DIMENSIONS
) -> None:
    """Raise unless the reply is complete and every number of it is right."""
    if result.HasField("failure") or result.segment_count != expected or len(segments) != expected:
        raise AssertionError(f"{len(segments)} segments of {expected}: {result}")
    found = np.stack([np.frombuffer(segment.vector.float32_le, "<f4") for segment in segments])
    if not np.array_equal(found, bodies.vectors(expected, dimensions).astype("<f4")):
        raise AssertionError("the numbers are wrong")


def check_events(responses: Sequence[pb.CreateEmbeddingResponse], expected: int) -> None:
    """Check the events of a stream in the same way."""
    check(*segments_and_result(responses), expected)


def segments_and_result(
    responses: Sequence[pb.CreateEmbeddingResponse],
) -> tuple[list[pb.Segment], pb.InputResult]:
    """Return the segments of a call with one input, and its result, which is the last event."""
    events = [event for response in responses for event in response.events]
    return [event.segment for event in events if event.HasField("segment")], events[-1].result


def models() -> pb.ListModelsRequest:
    return pb.ListModelsRequest()
