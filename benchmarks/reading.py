"""The row of the Python client: two hours of audio as one array."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import bodies
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import Stage
from embedwire import replies
from embedwire.v1 import embedding_pb2 as pb

PASSES = 20


@row(15, "client", Bound("client: packed to array ÷ floats to list", 0.25, 0.1, at_most=True))
async def client(stage: Stage) -> Measured:
    """Python client, 720x1024 packed segments into one numpy array ÷ the same as `repeated float` into a list."""
    packed, floats = messages(pb.VECTOR_ENCODING_FLOAT32_LE), messages(pb.VECTOR_ENCODING_FLOAT_VALUES)
    if as_array(packed).ravel().tolist() != as_list(floats):
        raise AssertionError("the numbers differ")
    rounds = [(_milliseconds(as_array, packed), _milliseconds(as_list, floats)) for _ in range(stage.rounds)]
    one, other = (sorted(column)[len(column) // 2] for column in zip(*rounds, strict=True))
    notes = [f"packed to array {one:.2f} ms, floats to list {other:.2f} ms"]
    return Measured([[one / other for one, other in rounds]], notes)


def messages(encoding: pb.VectorEncoding.ValueType) -> list[bytes]:
    """Return the events of one call as they arrive."""
    events = []
    for index, values in enumerate(bodies.vectors(bodies.TWO_HOURS).astype("<f4")):
        vector = pb.Vector(dimensions=bodies.DIMENSIONS)
        if encoding == pb.VECTOR_ENCODING_FLOAT32_LE:
            vector.float32_le = values.tobytes()
        else:
            vector.float_values.values.extend(values.tolist())
        audio = pb.AudioSegment(start_offset_sec=index * 10, end_offset_sec=index * 10 + 10, embedding_option="audio")
        events.append(pb.EmbeddingEvent(segment=pb.Segment(segment_index=index, audio=audio, vector=vector)))
    result = pb.InputResult(
        model_name=bodies.MODEL, dimensions=bodies.DIMENSIONS, segment_count=len(events), attempts=1
    )
    events.append(pb.EmbeddingEvent(result=result))
    return [pb.CreateEmbeddingResponse(events=[event]).SerializeToString() for event in events]


def as_array(arrived: Sequence[bytes]) -> Any:
    """Read the vectors like the client."""
    collector = replies.Collector(1, "")
    for data in arrived:
        for event in replies.events(pb.CreateEmbeddingResponse.FromString(data), ""):
            collector.add(event)
    return collector.embeddings()[0].matrix()


def as_list(arrived: Sequence[bytes]) -> list[float]:
    """Read the vectors with the stubs only."""
    values: list[float] = []
    for data in arrived:
        values.extend(pb.CreateEmbeddingResponse.FromString(data).events[0].segment.vector.float_values.values)
    return values


def _milliseconds(read: Callable[[Sequence[bytes]], Any], arrived: Sequence[bytes]) -> float:
    began = time.perf_counter()
    for _ in range(PASSES):
        read(arrived)
    return (time.perf_counter() - began) / PASSES * 1e3
