"""The same bytes give the same result: however they are split, and as Python's own JSON reader understands them."""

import json
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwire_server.core.errors import UpstreamFailure
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.http import json_scanner as decoding
from embedwire_server.upstreams.twelvelabs.v1 import V1ReplyParser

DIMENSIONS = 3
VECTOR = '{"float":[1,2,3]}'
AUDIO = '{"float":[1,2,3],"start_offset_sec":0}'
Result = tuple[list[Segment], ReplySummary | str]


def outcome(pieces: Iterable[bytes], modality: Modality = Modality.TEXT) -> Result:
    """All that comes of a reply: its segments, also those before a fault, and its summary or what is wrong."""
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
    """What comes of a complete reply that is read without the scanner; None if it is not read so."""
    return V1ReplyParser(modality, DIMENSIONS).whole(data)


def split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def same(data: bytes, modality: Modality = Modality.TEXT) -> Result:
    """The outcome in one piece, after it has been seen to be that of other splits."""
    whole = outcome([data], modality)
    sizes = (1, 2, 7) if len(data) < 1 << 16 else (4099, 1 << 16)
    for size in sizes:
        assert outcome(split(data, size), modality) == whole
    assert at_once(data, modality) in (None, whole)
    return whole


def packed(numbers: list[float]) -> bytes:
    return np.array(numbers, np.float64).astype("<f4").tobytes()


ONE = [Segment(packed([1, 2, 3]))]
GOOD: Result = (ONE, ReplySummary("m"))

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
    "an embedding that nobody asked for": '"image_embedding":{"segments":[{"float":[9,9]}]}',
    "a vector": '"x":[' + ",".join(["0.5"] * 2000) + "]",
    "100 KB in a string": '"x":"' + "a" * 100_000 + '"',
    "100 KB of escapes": '"x":"' + r"\"" * 50_000 + '"',
    "given twice": '"x":1,"x":[2]',
    "empty name": '"":0',
}


@pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS)
def test_unknown_members_never_matter(member: str) -> None:
    """Whatever an unknown member holds, in any place, the reply is read as if it was not there."""
    for body in (
        f'{{"model_name":"m",{member},"text_embedding":{{"segments":[{VECTOR}]}}}}',
        f'{{"model_name":"m","text_embedding":{{"segments":[{VECTOR}]}},{member}}}',
        f'{{"model_name":"m","text_embedding":{{{member},"segments":[{VECTOR}]}}}}',
        f'{{"model_name":"m","text_embedding":{{"segments":[{VECTOR}],{member}}}}}',
        f'{{"model_name":"m","text_embedding":{{"segments":[{{{member},{VECTOR[1:]}]}}}}',
        f'{{"model_name":"m","text_embedding":{{"segments":[{VECTOR[:-1]},{member}}}]}}}}',
    ):
        assert same(body.encode()) == GOOD
    audio = f'{{"model_name":"m","audio_embedding":{{"segments":[{AUDIO},{{{member},{AUDIO[1:]}]}}}}'
    assert same(audio.replace('"audio_embedding":[]', '"y":[]').encode(), Modality.AUDIO)[1] == ReplySummary("m")


@pytest.mark.parametrize("data", [b"\xff", b"caf\xe9", b"\xc3", b"\xed\xa0\xbe", b"\xf0\x9f\xa6"])
def test_bytes_that_are_not_utf8(data: bytes) -> None:
    """In what is not read they do not matter; a model name has to be text."""
    before = b'{"model_name":"m","x":"' + data + b'","text_embedding":{"segments":[' + VECTOR.encode() + b"]}}"
    inside = b'{"model_name":"m","text_embedding":{"segments":[{"x":"' + data + b'",' + VECTOR[1:].encode() + b"]}}"
    assert same(before) == same(inside) == GOOD
    if data != b"\xed\xa0\xbe":  # half of an emoji, which Python's reader lets pass
        assert same(before.replace(b'"m"', b'"' + data + b'"'))[1] == "its model_name is not encoded in UTF-8"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(r'{"model_name":"m","text\u005fembedding":{"segments":[%s]}}', id="embedding"),
        pytest.param(r'{"model_name":"m","text_embedding":{"s\u0065gments":[%s]}}', id="segments"),
        pytest.param(r'{"model_n\u0061me":"m","text\u005fembedding":{"s\u0065gments":[%s]}}', id="all of them"),
        pytest.param('\ufeff{"model_name":"m","text_embedding":{"segments":[%s]}}', id="byte order mark"),
        pytest.param('\ufeff\r\n {"model_name":"m","text_embedding":{"segments":[%s]}}\n\t ', id="spaces around"),
        pytest.param('{"text_embedding":{"segments":[%s]},"model_name":"m"}', id="other order"),
        pytest.param('{"model_name":"x","text_embedding":{"segments":[%s]},"model_name":"m"}', id="model_name twice"),
        pytest.param('{"model_name":"m","text_embedding":{"segments":[],"segments":[%s]}}', id="segments, empty first"),
        pytest.param('{"model_name":"m","text_embedding":5,"text_embedding":{"segments":[%s]}}', id="embedding twice"),
        pytest.param('{"model_name":"m","text_embedding":{"segments":[%s],"error_message":null}}', id="no error"),
        pytest.param('{"model_name":"m","text_embedding":{"segments":[%s],"error_message":""}}', id="empty error"),
    ],
)
def test_other_spellings(body: str) -> None:
    """Names with escapes, a byte order mark, spaces, another order: all are the same reply."""
    assert same((body % VECTOR).encode()) == GOOD
    assert same((body % VECTOR.replace("float", r"fl\u006fat")).encode()) == GOOD


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ('{"float":[9,9,9],"float":[1,2,3]}', [1, 2, 3]),
        (r'{"float":[9,9,9],"fl\u006fat":[1,2,3]}', [1, 2, 3]),
        (r'{"fl\u006fat":[9],"float":[1,2,3]}', [1, 2, 3]),
        ('{"float":null,"x":1,"float":[1,2,3]}', [1, 2, 3]),
        ('{"x":1,"x":2,"float":[1,2,3]}', [1, 2, 3]),
    ],
)
def test_the_last_of_two_members_counts(segment: str, expected: list[float]) -> None:
    """A member of a segment that is given twice is read as other JSON readers read it: the last one."""
    body = f'{{"model_name":"m","text_embedding":{{"segments":[{segment}]}}}}'
    assert same(body.encode()) == ([Segment(packed(expected))], ReplySummary("m"))


def test_the_last_of_two_offsets_counts() -> None:
    """As above, for what is read of audio."""
    segment = '{"float":[1,2,3],"start_offset_sec":9,"st\\u0061rt_offset_sec":6,"embedding_option":"a"}'
    segments, _ = same(f'{{"model_name":"m","audio_embedding":{{"segments":[{segment}]}}}}'.encode(), Modality.AUDIO)
    assert [segment.start_offset_sec for segment in segments] == [6.0]


@pytest.mark.parametrize(
    "embedding",
    [
        '"text_embedding":{"segments":[%s],"segments":[%s]}',
        '"text_embedding":{"segments":[%s],"segments":[]}',
        '"text_embedding":{"segments":[%s],"segments":null}',
        '"text_embedding":{"segments":[%s],"s\\u0065gments":[%s]}',
        '"text_embedding":{"segments":[%s]},"text_embedding":{"segments":[%s]}',
        '"text_embedding":{"segments":[%s]},"text_embedding":null',
        '"text_embedding":{"segments":[%s]},"text\\u005fembedding":{"segments":[%s]}',
    ],
)
def test_segments_given_twice(embedding: str) -> None:
    """Segments that have been passed on cannot be replaced by later ones: the reply is refused, in any spelling."""
    body = '{"model_name":"m",' + embedding.replace("%s", VECTOR) + "}"
    assert same(body.encode())[1] == "its segments are not one list of objects"


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("1", 1),
        ("-0", 0),
        ("-0.0", -0.0),
        ("1e-5", 1e-5),
        ("1E+2", 100),
        ("0.1e1", 1),
        ("1e-400", 0),
        ("0." + "1" * 400, 0.1111111111111111),
        ("1" + "0" * 25 + ".5", 1e25),
        ("9007199254740993", 9007199254740993),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 18446744073709551616),
        ("-9223372036854775809", -9223372036854775809),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("1" + "0" * 38, 1e38),
    ],
)
def test_numbers(number: str, value: float) -> None:
    """Every number of JSON becomes the float32 nearest to what Python reads."""
    data = f'{{"model_name":"m","text_embedding":{{"segments":[{{"float":[{number},{number}, 3]}}]}}}}'.encode()
    segments, _ = same(data)
    assert segments == [Segment(packed([value, value, 3]))]
    assert packed([value]) == packed([json.loads(number)])


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ("[1,2,NaN]", "float32 cannot"),
        ("[1,2,-Infinity]", "float32 cannot"),
        ("[1,2,1e400]", "float32 cannot"),
        ("[1,2,1" + "0" * 400 + "]", "float32 cannot"),
        ("[1,2,1" + "0" * 5000 + "]", "float32 cannot"),
        ("[1,2,null]", "numbers"),
        ("[1,2,true]", "numbers"),
        ('[1,2,"3"]', "numbers"),
        ("[1,2,[3]]", "numbers"),
        ("[[1,2,3]]", "numbers"),
        ("[1,2]", "3 dimensions"),
        ("null", "no vector"),
        ("{}", "no vector"),
        ('"abc"', "no vector"),
        ("[1,2,03]", "valid JSON"),
        ("[1,2,3,]", "valid JSON"),
    ],
)
def test_what_is_no_vector(numbers: str, fault: str) -> None:
    """What is no vector of finite numbers is refused, and the fault says why."""
    body = f'{{"model_name":"m","text_embedding":{{"segments":[{{"float":{numbers}}}]}}}}'
    segments, end = same(body.encode())
    assert (segments, fault in str(end)) == ([], True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_other_encodings(encoding: str) -> None:
    """A reply in another encoding than UTF-8 is refused as such."""
    body = f'{{"model_name":"m","text_embedding":{{"segments":[{VECTOR}]}}}}'
    assert same(body.encode(encoding)) == ([], "it is not encoded in UTF-8")


FAULTS = {
    "element": '{"float":[1,2],"start_offset_sec":0}',
    "no JSON": '{"float":[1,2,3],"start_offset_sec":0,}',
    "brackets": "]}}]",
    "depth": '{"x":' + '[{"x":' * 500,
    "cut": '{"float":[1,2',
    "unended list with an object": "[1,{",
    "list with an object that is not closed": "[1,{]",
    "element too large": '{"x":"' + "a" * decoding.MAX_ELEMENT_BYTES + '"}',
    "too large, then too deep": '{"x":"' + "a" * decoding.MAX_ELEMENT_BYTES + '","y":' + '[{"x":' * 500,
    "spaces": " " * decoding.MAX_ENVELOPE_BYTES,
    "spaces, then brackets": " " * decoding.MAX_ENVELOPE_BYTES + "]}}]",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_after_good_segments(fault: str) -> None:
    """The segments before a fault are given back and the first fault is reported, also if both come in one piece.

    A list that holds no segment is found out at the end of the reply, so the segment after it counts.
    """
    body = f'{{"model_name":"m","audio_embedding":{{"segments":[{AUDIO},{AUDIO},{fault},{AUDIO}]}}}}'
    segments, end = same(body.encode(), Modality.AUDIO)
    assert (len(segments), type(end)) == (3 if fault == "[1,{]" else 2, str)


@pytest.mark.parametrize("excess", [0, 1])
def test_limits_are_exact(excess: int) -> None:
    """A segment, or all beside the segments, may have as many bytes as stated, in pieces of any size."""
    start, end = '{"x":"', f'",{VECTOR[1:]}'
    size = decoding.MAX_ELEMENT_BYTES - len(start) - len(end) + excess
    element = f'{{"model_name":"m","text_embedding":{{"segments":[{start}{"a" * size}{end}]}}}}'
    start, end = '{"model_name":"m","x":"', '","text_embedding":{"segments":[{}]}}'
    size = decoding.MAX_ENVELOPE_BYTES - len(start) - len(end) + excess
    envelope = f"{start}{'a' * size}{end}".replace("{}", VECTOR)
    found = [same(element.encode()), same(envelope.encode())]
    assert [end for _, end in found] == [f"a part of it is too large, above {1 << 20} bytes" if excess else GOOD[1]] * 2


SNIPPETS = [*b'[]{}",:\\0 ', *MEMBERS.values(), VECTOR, AUDIO, "null", "NaN", '"float"', '"segments":[', "\ufeff"]
WORDS = st.sampled_from(["model_name", "segments", "float", "text_embedding", "audio_embedding", "start_offset_sec"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, Modality]:
    """The bytes of a reply, good or changed in a few places."""
    modality = draw(st.sampled_from([Modality.TEXT, Modality.AUDIO]))
    vector = st.lists(st.floats(-9, 9) | st.integers(-(2**70), 2**70), min_size=DIMENSIONS, max_size=DIMENSIONS)
    segment = st.fixed_dictionaries(
        {"float": vector, "start_offset_sec": st.integers(0, 9)}, optional={"x": VALUES, "embedding_option": VALUES}
    )
    several = st.lists(segment, min_size=1, max_size=1 if modality is Modality.TEXT else 3)
    embedding = st.fixed_dictionaries({"segments": several}, optional={"metadata": VALUES, "error_message": VALUES})
    whole = st.fixed_dictionaries(
        {"model_name": st.just("m"), f"{modality}_embedding": embedding}, optional={"x": VALUES}
    )
    data = bytearray(json.dumps(draw(whole), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        snippet = draw(st.sampled_from(SNIPPETS))
        data[at : at + draw(st.integers(0, 3))] = snippet.encode() if isinstance(snippet, str) else bytes([snippet])
    return bytes(data), modality


@settings(max_examples=100, deadline=None)
@given(documents(), st.randoms())
def test_any_split_of_any_document(document: tuple[bytes, Modality], rnd: random.Random) -> None:
    """Any pieces of any bytes give the same segments and the same completion or fault as one piece."""
    data, modality = document
    cuts = sorted(rnd.randint(0, len(data)) for _ in range(rnd.randint(1, 12)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert outcome(pieces, modality) == outcome(split(data, 1), modality) == outcome([data], modality)
    assert at_once(data, modality) in (None, outcome([data], modality))


@settings(max_examples=100, deadline=None)
@given(documents())
def test_as_pythons_reader_understands_it(document: tuple[bytes, Modality]) -> None:
    """What the official SDK's JSON reader finds in a reply is what comes out; what it refuses gives no completion."""
    data, modality = document
    segments, end = outcome([data], modality)
    try:
        expected = reference(data, modality)
    except (ValueError, KeyError, TypeError):
        assert not isinstance(end, ReplySummary)
        return
    if isinstance(end, str) and "one list of objects" in end:  # segments were given twice
        assert data.count(b"segments") + data.count(b"embedding") > 2
        return
    assert end == ReplySummary("m")
    assert [segment.vector for segment in segments] == expected


def reference(data: bytes, modality: Modality) -> list[bytes]:
    """The vectors of a reply, read whole. A ValueError, KeyError or TypeError if it is none."""
    whole: Any = json.loads(data.decode("utf-8-sig", "surrogateescape"), strict=False)
    embedding = whole[f"{modality}_embedding"]
    metadata_is_fine = whole["model_name"] == "m"
    if not metadata_is_fine or embedding.get("error_message") or not embedding["segments"]:
        raise ValueError
    if modality is Modality.TEXT and len(embedding["segments"]) > 1:
        raise ValueError
    return [vector(segment, modality) for segment in embedding["segments"]]


def vector(segment: dict[str, Any], modality: Modality) -> bytes:
    numbers = segment["float"]
    if not all(type(number) in (int, float) for number in numbers) or len(numbers) != DIMENSIONS:
        raise ValueError
    values = np.array(numbers, np.float64).astype("<f4")
    if not np.isfinite(values).all():
        raise ValueError
    if modality is Modality.AUDIO:
        check_audio(segment)
    return values.tobytes()


def check_audio(segment: dict[str, Any]) -> None:
    start, end, option = (segment.get(name) for name in ("start_offset_sec", "end_offset_sec", "embedding_option"))
    if type(start) not in (int, float) or not np.isfinite(float(start or 0)):
        raise ValueError
    if end is not None and (type(end) not in (int, float) or not np.isfinite(float(end))):
        raise ValueError
    if option is not None and (not isinstance(option, str) or not option.isprintable()):
        raise ValueError


USUAL = b'{"model_name":"m","text_embedding":{"segments":[{"float":[1,-2.5,3e-1]}]}}'


@pytest.mark.parametrize("body", [USUAL, USUAL.replace(b":", b" : ").replace(b",", b" ,\n"), b" " + USUAL + b"\r\n"])
def test_the_usual_reply_is_read_at_once(body: bytes) -> None:
    """A text's reply in its usual form needs no scanner, and gives the same."""
    assert at_once(body) == outcome([body]) == ([Segment(packed([1, -2.5, 0.3]))], ReplySummary("m"))


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.AUDIO])
def test_other_modalities_are_not_read_at_once(modality: Modality) -> None:
    """They have metadata or several segments."""
    assert at_once(USUAL.replace(b"text_", f"{modality}_".encode()), modality) is None


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The usual reply, changed in a few places, cut off or with something behind it."""
    data = bytearray(USUAL)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        snippet = draw(st.one_of(st.binary(max_size=3), st.sampled_from(PIECES)))
        data[at : at + draw(st.integers(0, 4))] = snippet
    end = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    return bytes(data[:end]) + draw(st.sampled_from([b"", b"", b" ", b"\0", b"{}", b"]"]))


PIECES = [
    *(bytes([byte]) for byte in b'[]{}",:\\0 -.e'),
    *(b'"model_name":"n",', b'"x":0,', b"null", b"NaN", b"1e400", b"18446744073709551616", b"[1]", b'""', b"true"),
    *(b"\xff", b"\xef\xbb\xbf", rb"\u006d", b"\x7f", b'"error_message":"no",', b'{"float":[1,2,3]}', b"1e39"),
]


@settings(max_examples=500, deadline=None)
@given(mutated())
def test_any_reply_is_the_same_read_at_once(data: bytes) -> None:
    """Whatever is changed in a reply, it is left to the scanner, or gives the same vector and summary."""
    assert at_once(data) in (None, outcome([data]))


def test_every_byte_replaced() -> None:
    """The same for each place of the usual reply and each of many bytes, and for each place where it may be cut off."""
    for at in range(len(USUAL)):
        assert at_once(USUAL[:at]) is None
        for byte in (*b'[]{}",:\\0 -.eEn', 0, 0x1F, 0x7F, 0x80, 0xC3, 0xFF):
            data = USUAL[:at] + bytes([byte]) + USUAL[at + 1 :]
            assert at_once(data) in (None, outcome([data]))
