"""The row of decoding: from JSON text to a serialized message, without a server."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from benchmarks import bodies
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import Stage
from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.inputs import AudioInput, UrlSource
from embedwire_server.core.models import MARENGO_27, Modality
from embedwire_server.rpc import encode
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.twelvelabs.v1 import V1ReplyParser

PIECE_BYTES = 64 << 10  # as the server reads them
PASSES = 5
FLOATS = bodies.TWO_HOURS * bodies.DIMENSIONS
# Kept with its memory: a new parser spends more time on page faults than on parsing.
_SIMDJSON = simdjson.Parser()


@row(9, "decode", Bound("decode 720x1024 ÷ simdjson alone", 1.15, 1.0, at_most=True))
async def decode(stage: Stage) -> Measured:
    """Decode of 720x1024 to messages, CPU time ÷ the least that simdjson takes for the same numbers."""
    reply = bodies.audio(bodies.TWO_HOURS)
    check(reply)
    ways: list[Callable[[bytes], Iterator[object]]] = [ours, least, usual]
    rounds = [[_nanoseconds(way, reply) for way in ways] for _ in range(stage.rounds + 1)][1:]
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    names = ("decoder", "simdjson alone", "orjson and a list")
    notes = [", ".join(f"{name} {median:.1f}" for name, median in zip(names, medians, strict=True))]
    return Measured([[one / other for one, other, _ in rounds]], [f"{notes[0]} ns of CPU per float"])


def check(reply: bytes) -> None:
    """Raise unless all variants decode the same numbers."""
    if list(ours(reply)) != list(usual(reply)):
        raise AssertionError("the messages differ")
    if not np.array_equal(np.stack([*least(reply)]), bodies.vectors(bodies.TWO_HOURS)):
        raise AssertionError("the numbers differ")


def ours(reply: bytes) -> Iterator[bytes]:
    """Decode like the server, piece by piece."""
    call = EmbedCall(AudioInput("", UrlSource("")), MARENGO_27, math.inf)
    parser, count = V1ReplyParser(Modality.AUDIO, bodies.DIMENSIONS), 0
    for start in range(0, len(reply), PIECE_BYTES):
        for found in parser.feed(reply[start : start + PIECE_BYTES]):
            message = pb.Segment()
            encode.write_segment(message, call, count, found, pb.VECTOR_ENCODING_FLOAT_VALUES)
            yield message.SerializeToString()
            count += 1
    parser.finish()


def least(reply: bytes) -> Iterator[NDArray[np.float64]]:
    """Decode with the minimum of work for simdjson: parse the whole reply once and read the numbers of each vector."""
    root: Any = _SIMDJSON.parse(reply)
    for element in root["audio_embedding"]["segments"]:
        yield np.frombuffer(element["float"].as_buffer(of_type="d"))


def usual(reply: bytes) -> Iterator[bytes]:
    """Decode in the usual way, the whole reply in one step."""
    for index, fields in enumerate(orjson.loads(reply)["audio_embedding"]["segments"]):
        audio = pb.AudioSegment(
            start_offset_sec=fields["start_offset_sec"],
            end_offset_sec=fields["end_offset_sec"],
            embedding_option=fields["embedding_option"],
        )
        values = pb.FloatValues(values=fields["float"])
        vector = pb.Vector(dimensions=len(fields["float"]), float_values=values)
        yield pb.Segment(segment_index=index, audio=audio, vector=vector).SerializeToString()


def _nanoseconds(decode: Callable[[bytes], Iterator[object]], reply: bytes) -> float:
    began = time.process_time()
    for _ in range(PASSES):
        for _message in decode(reply):
            pass
    return (time.process_time() - began) / PASSES / FLOATS * 1e9
