"""Helpers of the tests of replies: the outcome of a reply that arrives in pieces."""

from collections.abc import Iterable

import numpy as np

from embedwire_server.core.errors import UpstreamFailure
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.twelvelabs.v1 import V1ReplyParser

DIMENSIONS = 3
VECTOR = '{"float":[1,2,3]}'
AUDIO = '{"float":[1,2,3],"start_offset_sec":0}'
Result = tuple[list[Segment], ReplySummary | str]


def outcome(pieces: Iterable[bytes], modality: Modality = Modality.TEXT) -> Result:
    """Return the segments of a reply, also those before a fault, and its summary or fault."""
    parser = V1ReplyParser(modality, DIMENSIONS)
    segments: list[Segment] = []
    for piece in pieces:
        segments += parser.feed(piece)
        if parser.fault is not None:
            return segments, str(parser.fault)
    try:
        return segments, parser.finish()
    except (MalformedReplyError, UpstreamFailure) as fault:
        return segments, str(fault)


def at_once(data: bytes, modality: Modality = Modality.TEXT) -> Result | None:
    """Return the outcome of a complete reply parsed without the scanner; None if that is not possible."""
    return V1ReplyParser(modality, DIMENSIONS).whole(data)


def split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def packed(numbers: list[float]) -> bytes:
    return np.array(numbers, np.float64).astype("<f4").tobytes()


MEMBERS = {
    "half of an emoji": r'"x":"\ud83e"',
    "other half of an emoji": r'"x":"a\udd8a."',
    "halves in the wrong order": r'"x":"\udd8a\ud83e"',
    "half of an emoji in a name": r'"\ud83e":1',
    "integer of 80 bits": '"x":1208925819614629174706176',
    "negative integer of 80 bits": '"x":-1208925819614629174706176',
    "integer of 5,000 digits": '"x":' + "9" * 5000,
    "number of 5,000 decimals": '"x":0.' + "9" * 5000,
    "1e400": '"x":1e400',
    "-1e999999999": '"x":-1e999999999',
    "NaN": '"x":[NaN,Infinity,-Infinity]',
    "depth": '"x":' + "[" * 700 + "]" * 700,
    "depth of objects": '"x":' + '{"a":' * 700 + "0" + "}" * 700,
    "brackets in a string": '"x":"]}[{"',
    "quotes and backslashes": r'"x":"\"\\\"\\","y":"\\"',
    "brackets in a name": r'"]}\"[{":0',
    "NUL, escaped": r'"x":"\u0000"',
    "NUL": '"x":"\0"',
    "control characters": '"x":"a\n\t\x1b[0m"',
    "the name of the segments": '"x":{"segments":[{"float":[9,9,9]}]}',
    "the names as values": '"x":["text_embedding","segments","float"]',
    "both names, deeper": '"x":{"text_embedding":{"segments":[{"float":[9]}]}}',
    "other modalities": '"image_embedding":null,"audio_embedding":[]',
    "an embedding that was not requested": '"image_embedding":{"segments":[{"float":[9,9]}]}',
    "a vector": '"x":[' + ",".join(["0.5"] * 2000) + "]",
    "100 KB in a string": '"x":"' + "a" * 100_000 + '"',
    "100 KB of escapes": '"x":"' + r"\"" * 50_000 + '"',
    "given twice": '"x":1,"x":[2]',
    "empty name": '"":0',
}
