"""Domain values as messages."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import error_reason_pb2
from embedwire_server.domain import (
    Completion,
    InputResult,
    InputSegment,
    Limits,
    Modality,
    Model,
    Segment,
)
from embedwire_server.errors import (
    GatewayError,
    InvalidRequest,
    Quota,
    Reason,
    ReplyTooLarge,
    UpstreamFailure,
    UpstreamSaid,
    Violation,
)
from embedwire_server.models import BUILT_IN, MARENGO_27, MARENGO_30
from embedwire_server.rpc import replies
from embedwire_server.rpc.unary import MAX_REPLY_BYTES, UnaryReply
from embedwire_server.trace import Trace

FLOATS = pb.VECTOR_ENCODING_FLOAT_VALUES
PACKED = pb.VECTOR_ENCODING_FLOAT32_LE
VECTOR = np.array([1.5, -0.0, 3e38], "<f4").tobytes()


def segment(index: int = 0, modality: Modality = Modality.TEXT, vector: bytes = VECTOR, **audio: Any) -> InputSegment:
    return InputSegment(index, f"key {index}", 7, modality, Segment(vector, **audio))


def result(
    index: int = 0, completion: Completion | None = None, failure: GatewayError | None = None, count: int = 1
) -> InputResult:
    trace = Trace(attempts=2, upstream="sandbox", queue=0.5, upload=1.25, waiting=2.0, decode=0.001)
    return InputResult(index, f"key {index}", MARENGO_30, count, trace, completion, failure)


def vector(data: bytes, encoding: pb.VectorEncoding.ValueType) -> pb.Vector:
    message = pb.Vector()
    replies.write_vector(message, data, encoding)
    return message


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=600))
def test_vectors(numbers: list[float]) -> None:
    """Both encodings carry the same float32 values to the bit, also over the wire."""
    data = np.array(numbers, "<f4").tobytes()
    floats = pb.Vector.FromString(vector(data, FLOATS).SerializeToString())
    assert floats.encoding == FLOATS
    assert floats.dimensions == len(numbers)
    assert np.array(floats.values, "<f4").tobytes() == data
    assert floats.data == b""
    packed = pb.Vector.FromString(vector(data, PACKED).SerializeToString())
    assert packed == pb.Vector(encoding=PACKED, dimensions=len(numbers), data=data)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 512, 1024, 4096, 100_000])
def test_floats_equal_plain_message(size: int) -> None:
    """The message that is put together from bytes is the one that protobuf would make from floats."""
    numbers = np.linspace(-1, 1, size, dtype="<f4")
    plain = pb.Vector(encoding=FLOATS, dimensions=size, values=numbers.tolist())
    assert vector(numbers.tobytes(), FLOATS) == plain
    assert vector(numbers.tobytes(), pb.VECTOR_ENCODING_UNSPECIFIED) == plain


@pytest.mark.parametrize(
    ("event", "name", "expected"),
    [
        pytest.param(segment(), "text", pb.TextSegment(), id="text"),
        pytest.param(segment(modality=Modality.IMAGE), "image", pb.ImageSegment(), id="image"),
        pytest.param(
            segment(modality=Modality.AUDIO, start_offset_sec=1.5, end_offset_sec=7.5, embedding_option="audio"),
            "audio",
            pb.AudioSegment(start_offset_sec=1.5, end_offset_sec=7.5, embedding_option="audio"),
            id="audio",
        ),
        pytest.param(
            segment(modality=Modality.AUDIO, start_offset_sec=0.0),
            "audio",
            pb.AudioSegment(),
            id="audio from the start, end unknown",
        ),
        pytest.param(
            segment(modality=Modality.AUDIO, start_offset_sec=0.0, end_offset_sec=0.0),
            "audio",
            pb.AudioSegment(end_offset_sec=0.0),
            id="audio, end at zero",
        ),
    ],
)
@pytest.mark.parametrize("response", [pb.CreateEmbeddingResponse, pb.CreateEmbeddingFromUploadResponse])
def test_segments(response: Any, event: InputSegment, name: str, expected: Any) -> None:
    """A segment says what it is a part of, whatever is known of its place, and carries its vector."""
    written = replies.EventWriter(response, PACKED, 1)(event)
    assert isinstance(written, response)
    assert written.WhichOneof("event") == "segment"
    message = response.FromString(written.SerializeToString()).segment
    assert message.WhichOneof("modality") == name
    assert getattr(message, name) == expected
    assert (message.input_index, message.input_key, message.segment_index) == (0, "key 0", 7)
    assert message.vector == pb.Vector(encoding=PACKED, dimensions=3, data=VECTOR)


@pytest.mark.parametrize(
    ("completion", "metadata", "optional"),
    [
        pytest.param(Completion("m"), {}, {}, id="nothing more"),
        pytest.param(Completion("m", input_url="u"), {"input_url": "u"}, {}, id="URL"),
        pytest.param(Completion("m", input_filename="f"), {"input_filename": "f"}, {}, id="file name"),
        pytest.param(Completion("m", input_filename=""), {"input_filename": ""}, {}, id="empty file name"),
        pytest.param(Completion("m", truncated=False), {}, {"truncated": False}, id="not truncated"),
        pytest.param(Completion("m", truncated=True), {}, {"truncated": True}, id="truncated"),
        pytest.param(Completion("m", media_duration_sec=0.0), {}, {"media_duration_sec": 0.0}, id="duration"),
    ],
)
@pytest.mark.parametrize("response", [pb.CreateEmbeddingResponse, pb.CreateEmbeddingFromUploadResponse])
def test_results(response: Any, completion: Completion, metadata: dict[str, str], optional: dict[str, Any]) -> None:
    """A result says what the upstream said, where the time went, and nothing that is not known."""
    written = replies.EventWriter(response, FLOATS, 2)(result(3, completion))
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
    assert isinstance(written, response)
    assert written == response(result=expected)
    assert not written.result.HasField("failure")


def test_the_last_result_is_the_last_message() -> None:
    """Nothing is held back for the status but the result of the last input: until then there are more."""
    write = replies.EventWriter(pb.CreateEmbeddingResponse, PACKED, 2)
    written = [write(segment()), write(result(1)), write(segment()), write(result(0))]

    assert [isinstance(message, replies.Last) for message in written] == [False, False, False, True]


def test_result_of_failure() -> None:
    """A failed input has no model and no dimensions, even if the upstream had said all there is."""
    message = replies.result(result(1, Completion("m", input_url="u"), UpstreamFailure(Reason.INTERNAL, "no"), count=4))
    assert (message.model_name, message.dimensions, message.segment_count) == ("", 0, 4)
    assert not message.HasField("metadata")
    assert message.failure.message == "no"
    assert (message.attempts, message.upstream) == (2, "sandbox")


@pytest.mark.parametrize("reason", list(Reason))
def test_failure_reasons(reason: Reason) -> None:
    """Every reason has its value of the contract."""
    message = replies.failure(UpstreamFailure(reason, "no"))
    assert error_reason_pb2.ErrorReason.Name(message.reason) == f"ERROR_REASON_{reason.value}"
    assert message.code > 0
    assert not message.HasField("retry_delay")
    assert not message.HasField("upstream_error")


def test_failure() -> None:
    """A failure carries its fields, quotas, delay and the upstream's words."""
    error = GatewayError(
        "x" * 2000,
        violations=tuple(Violation(f"inputs[{index}]", "no") for index in range(300)),
        retry_delay=1.5,
        quotas=(Quota("modality:audio", "25 a minute"),),
        upstream=UpstreamSaid(429, "code", "words", "url", (("retry-after", "2"), ("x-ratelimit-limit", "25"))),
    )
    error.reason = Reason.RATE_LIMITED
    message = replies.failure(error)
    assert message.code == 8
    assert message.message == "x" * 1021 + "…"
    assert len(message.field_violations) == 21
    assert message.field_violations[20].description == "and 280 more"
    assert message.retry_delay.ToMilliseconds() == 1500
    assert list(message.quota_violations) == [pb.QuotaViolation(subject="modality:audio", description="25 a minute")]
    assert message.upstream_error == pb.UpstreamError(
        http_status=429,
        code="code",
        message="words",
        docs_url="url",
        rate_limit_headers={"retry-after": "2", "x-ratelimit-limit": "25"},
    )


def test_failure_of_fields() -> None:
    """Violations of a small number are all there."""
    message = replies.failure(InvalidRequest(Violation("a", "b"), Violation("c", "d")))
    assert [(violation.field, violation.description) for violation in message.field_violations] == [
        ("a", "b"),
        ("c", "d"),
    ]


def test_models() -> None:
    """A model is shown with what it takes, and with the lower of its own and the server's limits."""
    message = replies.model(MARENGO_27, Limits(image_bytes=1 << 30, upload_bytes=99, text_bytes=77))
    assert message == pb.Model(
        name="Marengo-retrieval-2.7",
        aliases=["marengo-retrieval-2.7", "marengo2.7"],
        dimensions=1024,
        text=pb.TextSupport(
            max_tokens=77, truncates=[pb.TRUNCATE_NONE, pb.TRUNCATE_START, pb.TRUNCATE_END], max_bytes=77
        ),
        image=pb.ImageSupport(media_types=["image/jpeg", "image/png"], max_bytes=5 << 20, min_side_px=64),
        audio=pb.AudioSupport(media_types=["audio/flac", "audio/mpeg", "audio/wav"], max_bytes=99),
    )
    assert replies.model(MARENGO_30, Limits(image_bytes=5)).image.max_bytes == 5


def test_model_without_modalities() -> None:
    """What a model does not take is absent."""
    message = replies.model(Model("none", 4), Limits())
    assert not any(message.HasField(name) for name in ("text", "image", "audio"))
    assert all(all(replies.model(model, Limits()).HasField(m.value) for m in Modality) for model in BUILT_IN)


def test_unary() -> None:
    """The unary answer has every input in its place, however its events interleave."""
    reply = UnaryReply(3, PACKED)
    reply.add(segment(2))
    reply.add(segment(0))
    reply.add(result(0, Completion("m")))
    reply.add(segment(2))
    reply.add(result(2, Completion("m"), count=2))
    reply.add(result(1, failure=UpstreamFailure(Reason.INPUT_REJECTED, "no")))
    first, second, third = reply.message().embeddings
    assert [len(embedding.segments) for embedding in (first, second, third)] == [1, 0, 2]
    assert [embedding.result.input_key for embedding in (first, second, third)] == ["key 0", "key 1", "key 2"]
    alone = pb.Segment()
    replies.write_segment(alone, segment(0), PACKED)
    assert first.segments[0] == alone
    assert second.result.failure.message == "no"


def test_unary_drops_void_segments() -> None:
    """The segments of an input that failed in the end are not in the answer."""
    reply = UnaryReply(1, PACKED)
    reply.add(segment(0))
    reply.add(result(0, failure=UpstreamFailure(Reason.UPSTREAM_UNAVAILABLE, "no")))
    (embedding,) = reply.message().embeddings
    assert list(embedding.segments) == []
    assert embedding.result.HasField("failure")


@pytest.mark.parametrize("encoding", [FLOATS, PACKED])
@pytest.mark.parametrize("inputs", [1, 50])
def test_unary_limit(encoding: pb.VectorEncoding.ValueType, inputs: int) -> None:
    """An answer that is not refused fits into 4 MiB, and one that is refused hardly would have."""
    vector = np.ones(1024, "<f4").tobytes()
    events = [
        segment(number % inputs, Modality.AUDIO, vector, start_offset_sec=1.0, embedding_option="audio")
        for number in range(2000)
    ]
    reply, taken = UnaryReply(inputs, encoding), 0

    def fill() -> None:
        nonlocal taken
        for taken, event in enumerate(events):  # noqa: B007 - how many were taken before the one that is refused
            reply.add(event)

    with pytest.raises(ReplyTooLarge, match=r"4194304 bytes; use CreateEmbedding,"):
        fill()
    fitting = UnaryReply(inputs, encoding)
    for event in events[:taken]:
        fitting.add(event)
    assert 0.98 * MAX_REPLY_BYTES < fitting.message().ByteSize() <= MAX_REPLY_BYTES


def test_unary_limit_forgets_void_segments() -> None:
    """Segments of failed inputs take no room in the answer."""
    reply = UnaryReply(10, PACKED)
    vector = np.ones(1024, "<f4").tobytes()
    for index in range(10):
        for _ in range(500):
            reply.add(segment(index, vector=vector))
        reply.add(result(index, failure=UpstreamFailure(Reason.UPSTREAM_TIMEOUT, "no")))
    assert reply.message().ByteSize() < 2000
