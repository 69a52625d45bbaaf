"""The row of decoding: JSON text to a serialized message, without a server around it."""

import time
from collections.abc import Callable, Iterator

import orjson

from bench import bodies
from bench.rows import Bound, Measured, row
from bench.stage import Stage
from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.domain import InputSegment, Modality
from embedwire_server.rpc import replies
from embedwire_server.upstream.parser import ReplyParser

PIECE_BYTES = 64 << 10  # as the server takes them
PASSES = 3
FLOATS = bodies.TWO_HOURS * bodies.DIMENSIONS


@row(9, "decode", Bound("decode 720x1024 ÷ orjson and a list", 0.40, 0.25, at_most=True))
async def decode(stage: Stage) -> Measured:
    """Decode of 720x1024, ns per float ÷ (orjson.loads, then a message from the list)."""
    reply = bodies.audio(bodies.TWO_HOURS)
    if list(ours(reply)) != list(theirs(reply)):
        raise AssertionError("the messages differ")
    rounds = [(_nanoseconds(ours, reply), _nanoseconds(theirs, reply)) for _ in range(stage.rounds)]
    one, other = (sorted(column)[len(column) // 2] for column in zip(*rounds, strict=True))
    notes = [f"decoder {one:.1f} ns per float, orjson and a list {other:.1f} ns per float"]
    return Measured([[one / other for one, other in rounds]], notes)


def ours(reply: bytes) -> Iterator[bytes]:
    """As the server does it, piece by piece."""
    parser, count = ReplyParser(Modality.AUDIO, bodies.DIMENSIONS), 0
    for start in range(0, len(reply), PIECE_BYTES):
        for found in parser.feed(reply[start : start + PIECE_BYTES]):
            event = InputSegment(0, "", count, Modality.AUDIO, found)
            message = pb.Segment()
            replies.write_segment(message, event, pb.VECTOR_ENCODING_FLOAT_VALUES)
            yield message.SerializeToString()
            count += 1
    parser.finish()


def theirs(reply: bytes) -> Iterator[bytes]:
    """As it is usually done, the whole reply at once."""
    for index, fields in enumerate(orjson.loads(reply)["audio_embedding"]["segments"]):
        audio = pb.AudioSegment(
            start_offset_sec=fields["start_offset_sec"],
            end_offset_sec=fields["end_offset_sec"],
            embedding_option=fields["embedding_option"],
        )
        vector = pb.Vector(
            encoding=pb.VECTOR_ENCODING_FLOAT_VALUES, dimensions=len(fields["float"]), values=fields["float"]
        )
        yield pb.Segment(segment_index=index, audio=audio, vector=vector).SerializeToString()


def _nanoseconds(decode: Callable[[bytes], Iterator[bytes]], reply: bytes) -> float:
    began = time.perf_counter()
    for _ in range(PASSES):
        for _message in decode(reply):
            pass
    return (time.perf_counter() - began) / PASSES / FLOATS * 1e9
