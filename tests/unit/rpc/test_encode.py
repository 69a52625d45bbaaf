"""Encoding of domain values as messages."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.errors import Reason, ReplyTooLarge, UpstreamFailure
from embedwire_server.core.inputs import AudioInput, ImageInput, Input, Limits, TextInput, UrlSource
from embedwire_server.core.models import BUILT_IN, MARENGO_27, MARENGO_30, Modality, Model
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.rpc import encode
from embedwire_server.rpc.unary_reply import MAX_REPLY_BYTES, UnaryReply
from embedwire_server.upstreams.base import EmbedCall
from tests.support.messages import events_of

FLOATS = pb.VECTOR_ENCODING_FLOAT_VALUES
PACKED = pb.VECTOR_ENCODING_FLOAT32_LE
VECTOR = np.array([1.5, -0.0, 3e38], "<f4").tobytes()


PLACE = 7  # of a segment


def call(index: int = 0, modality: Modality = Modality.TEXT, count: int = 1) -> EmbedCall:
    """A call with an embedded input and its cost."""
    key, url = f"key {index}", UrlSource("https://example.com")
    items: dict[Modality, Input] = {
        Modality.TEXT: TextInput(key, "a fox"),
        Modality.IMAGE: ImageInput(key, url),
        Modality.AUDIO: AudioInput(key, url),
    }
    made = EmbedCall(items[modality], MARENGO_30, 1e9, index, attempts=2, upstream="sandbox", segments=count)
    made.queue, made.upload, made.waiting, made.decode = 0.5, 1.25, 2.0, 0.001
    return made


class Written(list[Any]):
    """Records the responses that are written."""

    async def write(self, response: Any) -> None:
        self.append(response)


def vector(data: bytes, encoding: pb.VectorEncoding.ValueType) -> pb.Vector:
    message = pb.Vector()
    encode.write_vector(message, data, encoding)
    return message


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=600))
def test_vectors(numbers: list[float]) -> None:
    """Both encodings carry the same float32 values bit for bit, also after serialization."""
    data = np.array(numbers, "<f4").tobytes()
    floats = pb.Vector.FromString(vector(data, FLOATS).SerializeToString())
    assert floats.WhichOneof("form") == "float_values"
    assert floats.dimensions == len(numbers)
    assert np.array(floats.float_values.values, "<f4").tobytes() == data
    packed = pb.Vector.FromString(vector(data, PACKED).SerializeToString())
    assert packed == pb.Vector(dimensions=len(numbers), float32_le=data)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 512, 1024, 4096, 100_000])
def test_floats_equal_plain_message(size: int) -> None:
    """The message assembled from bytes equals the one that protobuf makes from floats."""
    numbers = np.linspace(-1, 1, size, dtype="<f4")
    plain = pb.Vector(dimensions=size, float_values=pb.FloatValues(values=numbers.tolist()))
    assert vector(numbers.tobytes(), FLOATS) == plain
    assert vector(numbers.tobytes(), pb.VECTOR_ENCODING_UNSPECIFIED) == plain


@pytest.mark.parametrize(
    ("modality", "segment", "expected"),
    [
        pytest.param(Modality.TEXT, Segment(VECTOR), pb.TextSegment(), id="text"),
        pytest.param(Modality.IMAGE, Segment(VECTOR), pb.ImageSegment(), id="image"),
        pytest.param(
            Modality.AUDIO,
            Segment(VECTOR, start_offset_sec=1.5, end_offset_sec=7.5, embedding_option="audio"),
            pb.AudioSegment(start_offset_sec=1.5, end_offset_sec=7.5, embedding_option="audio"),
            id="audio",
        ),
        pytest.param(
            Modality.AUDIO,
            Segment(VECTOR, start_offset_sec=0.0),
            pb.AudioSegment(),
            id="audio from the start, end unknown",
        ),
        pytest.param(
            Modality.AUDIO,
            Segment(VECTOR, start_offset_sec=0.0, end_offset_sec=0.0),
            pb.AudioSegment(end_offset_sec=0.0),
            id="audio, end at zero",
        ),
    ],
)
@pytest.mark.parametrize("response", [pb.CreateEmbeddingResponse, pb.CreateEmbeddingFromUploadResponse])
async def test_segments(response: Any, modality: Modality, segment: Segment, expected: Any) -> None:
    """A segment has its position as far as it is known, and its vector."""
    written = Written()
    await encode.StreamReply(response, PACKED, 1, 0, written.write).add_segments(call(0, modality), PLACE, [segment])
    (sent,) = written
    assert isinstance(sent, response)
    (event,) = response.FromString(sent.SerializeToString()).events
    assert event.WhichOneof("event") == "segment"
    message = event.segment
    assert message.WhichOneof("modality") == modality
    assert getattr(message, modality) == expected
    assert (message.input_index, message.input_key, message.segment_index) == (0, "key 0", PLACE)
    assert message.vector == pb.Vector(dimensions=3, float32_le=VECTOR)


@pytest.mark.parametrize(
    ("most", "sizes"), [(0, [1] * 5), (1, [1] * 5), (2, [2, 2, 1]), (4, [4, 1]), (5, [5]), (1000, [5])]
)
async def test_segments_that_come_together(most: int, sizes: list[int]) -> None:
    """The segments of a batch share messages of the requested size, in order and numbered from the first one."""
    written = Written()
    segments = [Segment(bytes([number, 0, 0, 0])) for number in range(5)]
    reply = encode.StreamReply(pb.CreateEmbeddingResponse, PACKED, 1, most, written.write)
    await reply.add_segments(call(modality=Modality.AUDIO), PLACE, segments)
    found = [(event.segment.segment_index, event.segment.vector.float32_le[0]) for event in events_of(written)]
    assert found == [(PLACE + number, number) for number in range(5)]
    assert [len(sent.events) for sent in written] == sizes
    assert reply.last is None


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("most", [1, 2])
async def test_the_only_segment_comes_with_its_result(modality: Modality, most: int) -> None:
    """With several segments in a message, that of a text or an image shares one with its result."""
    written = Written()
    reply = encode.StreamReply(pb.CreateEmbeddingResponse, PACKED, 2, most, written.write)
    await reply.add_segments(call(modality=modality), 0, [Segment(VECTOR)])
    await reply.add_result(call(modality=modality), ReplySummary("m"), None)
    is_joined = most > 1 and modality is not Modality.AUDIO
    assert [len(sent.events) for sent in written] == ([2] if is_joined else [1, 1])
    assert [event.WhichOneof("event") for event in events_of(written)] == ["segment", "result"]


async def test_a_second_segment_of_a_text() -> None:
    """An upstream may return several segments for a text: all are written, in order."""
    written = Written()
    reply = encode.StreamReply(pb.CreateEmbeddingResponse, PACKED, 1, 5, written.write)
    for number in range(3):
        await reply.add_segments(call(), number, [Segment(VECTOR)])
    await reply.add_result(call(count=3), None, UpstreamFailure(Reason.INTERNAL, "no"))
    assert [event.segment.segment_index for event in events_of(written)] == [0, 1, 2]
    assert reply.last is not None
    assert [event.WhichOneof("event") for event in reply.last.events] == ["result"]


@pytest.mark.parametrize(
    ("summary", "metadata", "optional"),
    [
        pytest.param(ReplySummary("m"), {}, {}, id="nothing more"),
        pytest.param(ReplySummary("m", input_url="u"), {"input_url": "u"}, {}, id="URL"),
        pytest.param(ReplySummary("m", input_filename="f"), {"input_filename": "f"}, {}, id="file name"),
        pytest.param(ReplySummary("m", input_filename=""), {"input_filename": ""}, {}, id="empty file name"),
        pytest.param(ReplySummary("m", truncated=False), {}, {"truncated": False}, id="not truncated"),
        pytest.param(ReplySummary("m", truncated=True), {}, {"truncated": True}, id="truncated"),
        pytest.param(ReplySummary("m", media_duration_sec=0.0), {}, {"media_duration_sec": 0.0}, id="duration"),
    ],
)
@pytest.mark.parametrize("response", [pb.CreateEmbeddingResponse, pb.CreateEmbeddingFromUploadResponse])
async def test_results(
    response: Any, summary: ReplySummary, metadata: dict[str, str], optional: dict[str, Any]
) -> None:
    """A result has the upstream's summary and the times, and omits unknown members."""
    written = Written()
    await encode.StreamReply(response, FLOATS, 2, 0, written.write).add_result(call(3), summary, None)
    (sent,) = written
    expected = pb.InputResult(
        input_index=3,
        input_key="key 3",
        model_name="m",
        dimensions=512,
        segment_count=1,
        metadata=pb.MediaMetadata(**metadata) if metadata else None,
        attempts=2,
        upstream="sandbox",
        **optional,
    )
    expected.timings.queue.nanos = 500_000_000
    expected.timings.upload.FromMilliseconds(1250)
    expected.timings.upstream.seconds = 2
    expected.timings.decode.nanos = 1_000_000
    assert isinstance(sent, response)
    assert sent == response(events=[pb.EmbeddingEvent(result=expected)])
    assert not sent.events[0].result.HasField("failure")


async def test_the_last_result_is_the_last_message() -> None:
    """Only the result of the last input is sent together with the status."""
    written = Written()
    reply = encode.StreamReply(pb.CreateEmbeddingResponse, PACKED, 2, 1, written.write)
    await reply.add_segments(call(0), 0, [Segment(VECTOR)])
    await reply.add_result(call(1), ReplySummary("m"), None)
    await reply.add_segments(call(0), 1, [Segment(VECTOR)])
    assert reply.last is None
    await reply.add_result(call(0), ReplySummary("m"), None)

    assert [event.WhichOneof("event") for event in events_of(written)] == ["segment", "result", "segment"]
    assert reply.last is not None
    assert reply.last.events[0].result.input_index == 0


def test_result_of_failure() -> None:
    """A failed input has no model and no dimensions, even if the upstream had reported them."""
    message = pb.InputResult()
    summary, failure = ReplySummary("m", input_url="u"), UpstreamFailure(Reason.INTERNAL, "no")
    encode.write_result(message, call(1, count=4), summary, failure)
    assert (message.model_name, message.dimensions, message.segment_count) == ("", 0, 4)
    assert not message.HasField("metadata")
    assert message.failure.message == "no"
    assert (message.attempts, message.upstream) == (2, "sandbox")


def test_models() -> None:
    """A model is listed with its modalities, and with the lower of its own and the server's limits."""
    message = encode.model(MARENGO_27, Limits(image_bytes=1 << 30, upload_bytes=99, text_bytes=77))
    assert message == pb.Model(
        name="Marengo-retrieval-2.7",
        aliases=["marengo-retrieval-2.7", "marengo2.7"],
        dimensions=1024,
        text=pb.TextSupport(
            max_tokens=77, truncates=[pb.TRUNCATE_NONE, pb.TRUNCATE_START, pb.TRUNCATE_END], max_bytes=77
        ),
        image=pb.ImageSupport(media_types=["image/jpeg", "image/png"], max_bytes=5 << 20, min_side_px=64),
        audio=pb.AudioSupport(
            media_types=["audio/flac", "audio/mpeg", "audio/wav"],
            max_bytes=99,
            max_sync_duration_sec=600,
            max_duration_sec=600,
            processing_modes=[pb.PROCESSING_MODE_SYNC],
        ),
        supported_dimensions=[1024],
        upstreams=["sandbox"],
    )
    assert encode.model(MARENGO_30, Limits(image_bytes=5)).image.max_bytes == 5


def test_model_without_modalities() -> None:
    """A modality that a model does not support is absent."""
    message = encode.model(Model("none", 4), Limits())
    assert not any(message.HasField(name) for name in ("text", "image", "audio"))
    assert all(all(encode.model(model, Limits()).HasField(m.value) for m in Modality) for model in BUILT_IN)


async def test_unary() -> None:
    """The unary reply has the inputs in order, however their events interleave."""
    reply, segment = UnaryReply(3, PACKED), Segment(VECTOR)
    await reply.add_segments(call(2), 0, [segment])
    await reply.add_segments(call(0), PLACE, [segment])
    await reply.add_result(call(0), ReplySummary("m"), None)
    await reply.add_segments(call(2), 1, [segment])
    await reply.add_result(call(2, count=2), ReplySummary("m"), None)
    await reply.add_result(call(1), None, UpstreamFailure(Reason.INPUT_REJECTED, "no"))
    first, second, third = reply.message().embeddings
    assert [len(embedding.segments) for embedding in (first, second, third)] == [1, 0, 2]
    assert [embedding.result.input_key for embedding in (first, second, third)] == ["key 0", "key 1", "key 2"]
    assert [segment.segment_index for segment in third.segments] == [0, 1]
    alone = pb.Segment()
    encode.write_segment(alone, call(0), PLACE, segment, PACKED)
    assert first.segments[0] == alone
    assert second.result.failure.message == "no"


async def test_unary_drops_void_segments() -> None:
    """Segments of an input that fails later are not in the unary reply."""
    reply = UnaryReply(1, PACKED)
    await reply.add_segments(call(), 0, [Segment(VECTOR)])
    await reply.add_result(call(), None, UpstreamFailure(Reason.UPSTREAM_UNAVAILABLE, "no"))
    (embedding,) = reply.message().embeddings
    assert list(embedding.segments) == []
    assert embedding.result.HasField("failure")


@pytest.mark.parametrize("encoding", [FLOATS, PACKED])
@pytest.mark.parametrize("inputs", [1, 50])
async def test_unary_limit(encoding: pb.VectorEncoding.ValueType, inputs: int) -> None:
    """A reply that is accepted fits into 4 MiB, and one that is refused would hardly fit."""
    segment = Segment(np.ones(1024, "<f4").tobytes(), start_offset_sec=1.0, embedding_option="audio")
    embedded = [call(index, Modality.AUDIO) for index in range(inputs)]
    taken = 0

    async def fill(reply: UnaryReply, most: int) -> None:
        nonlocal taken
        for number in range(most):
            taken = number  # results before the refused one
            await reply.add_segments(embedded[number % inputs], PLACE, [segment])

    with pytest.raises(ReplyTooLarge, match=r"4194304 bytes; use CreateEmbedding,"):
        await fill(UnaryReply(inputs, encoding), 2000)
    fitting = UnaryReply(inputs, encoding)
    await fill(fitting, taken)
    assert 0.98 * MAX_REPLY_BYTES < fitting.message().ByteSize() <= MAX_REPLY_BYTES


async def test_unary_limit_within_a_batch() -> None:
    """A batch of segments is refused at the first one that exceeds the limit, not after the last one."""
    reply = UnaryReply(1, PACKED)
    with pytest.raises(ReplyTooLarge):
        await reply.add_segments(call(), 0, [Segment(bytes(1 << 20))] * 50)
    assert reply.message().ByteSize() < MAX_REPLY_BYTES + (1 << 20)


async def test_unary_limit_forgets_void_segments() -> None:
    """Segments of failed inputs do not count towards the limit."""
    reply, segment = UnaryReply(10, PACKED), Segment(np.ones(1024, "<f4").tobytes())
    for index in range(10):
        for number in range(500):
            await reply.add_segments(call(index), number, [segment])
        await reply.add_result(call(index), None, UpstreamFailure(Reason.UPSTREAM_TIMEOUT, "no"))
    assert reply.message().ByteSize() < 2000
