"""Replies with unusual spellings, unknown members, faults and limits, each in several splits."""

import json

import pytest

from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.http import json_scanner as decoding
from tests.unit.upstreams.twelvelabs.v1_support import AUDIO, MEMBERS, VECTOR, Result, at_once, outcome, packed, split


def same(data: bytes, modality: Modality = Modality.TEXT) -> Result:
    """Return the outcome in one piece after a check that other splits have the same."""
    whole = outcome([data], modality)
    sizes = (1, 2, 7) if len(data) < 1 << 16 else (4099, 1 << 16)
    for size in sizes:
        assert outcome(split(data, size), modality) == whole
    assert at_once(data, modality) in (None, whole)
    return whole


ONE = [Segment(packed([1, 2, 3]))]
GOOD: Result = (ONE, ReplySummary("m"))


@pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS)
def test_unknown_members_never_matter(member: str) -> None:
    """An unknown member with any value at any position does not change the result."""
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
    """Invalid UTF-8 is accepted in unknown members but not in a model name."""
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
    """Escaped names, a byte order mark, white space and another order do not change the result."""
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
    """Of a duplicate member of a segment the last one is used, as by other JSON parsers."""
    body = f'{{"model_name":"m","text_embedding":{{"segments":[{segment}]}}}}'
    assert same(body.encode()) == ([Segment(packed(expected))], ReplySummary("m"))


def test_the_last_of_two_offsets_counts() -> None:
    """The same for duplicate offsets of audio."""
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
    """A duplicate list of segments is refused, since segments have already been emitted."""
    body = '{"model_name":"m",' + embedding.replace("%s", VECTOR) + "}"
    assert same(body.encode())[1] == "its segments are not a list of objects"


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
    """Every JSON number becomes the float32 nearest to Python's value."""
    data = f'{{"model_name":"m","text_embedding":{{"segments":[{{"float":[{number},{number}, 3]}}]}}}}'.encode()
    segments, _ = same(data)
    assert segments == [Segment(packed([value, value, 3]))]
    assert packed([value]) == packed([json.loads(number)])


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ("[1,2,NaN]", "range of float32"),
        ("[1,2,-Infinity]", "range of float32"),
        ("[1,2,1e400]", "range of float32"),
        ("[1,2,1" + "0" * 400 + "]", "range of float32"),
        ("[1,2,1" + "0" * 5000 + "]", "range of float32"),
        ("[1,2,null]", "not a number"),
        ("[1,2,true]", "not a number"),
        ('[1,2,"3"]', "not a number"),
        ("[1,2,[3]]", "not a number"),
        ("[[1,2,3]]", "not a number"),
        ("[1,2]", "3 dimensions"),
        ("null", "no vector"),
        ("{}", "no vector"),
        ('"abc"', "no vector"),
        ("[1,2,03]", "valid JSON"),
        ("[1,2,3,]", "valid JSON"),
    ],
)
def test_invalid_vectors(numbers: str, fault: str) -> None:
    """A vector that is not a list of finite numbers is refused with the fault."""
    body = f'{{"model_name":"m","text_embedding":{{"segments":[{{"float":{numbers}}}]}}}}'
    segments, end = same(body.encode())
    assert (segments, fault in str(end)) == ([], True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_other_encodings(encoding: str) -> None:
    """An encoding other than UTF-8 is refused as such."""
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
    """Segments before a fault are returned and the first fault is reported, also if both come in one piece.

    A list without a segment is reported at the end of the reply, so a segment after it is returned.
    """
    body = f'{{"model_name":"m","audio_embedding":{{"segments":[{AUDIO},{AUDIO},{fault},{AUDIO}]}}}}'
    segments, end = same(body.encode(), Modality.AUDIO)
    assert (len(segments), type(end)) == (3 if fault == "[1,{]" else 2, str)


@pytest.mark.parametrize("excess", [0, 1])
def test_limits_are_exact(excess: int) -> None:
    """A segment, and all other parts together, may have exactly the documented size, in any split."""
    start, end = '{"x":"', f'",{VECTOR[1:]}'
    size = decoding.MAX_ELEMENT_BYTES - len(start) - len(end) + excess
    element = f'{{"model_name":"m","text_embedding":{{"segments":[{start}{"a" * size}{end}]}}}}'
    start, end = '{"model_name":"m","x":"', '","text_embedding":{"segments":[{}]}}'
    size = decoding.MAX_ENVELOPE_BYTES - len(start) - len(end) + excess
    envelope = f"{start}{'a' * size}{end}".replace("{}", VECTOR)
    found = [same(element.encode()), same(envelope.encode())]
    assert [end for _, end in found] == [f"a part of it is too large, above {1 << 20} bytes" if excess else GOOD[1]] * 2
