"""Generated replies: the same result in any split, and as by Python's JSON parser."""

import json
import random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary
from tests.unit.upstreams.twelvelabs.v1_support import AUDIO, DIMENSIONS, MEMBERS, VECTOR, at_once, outcome, split

SNIPPETS = [*b'[]{}",:\\0 ', *MEMBERS.values(), VECTOR, AUDIO, "null", "NaN", '"float"', '"segments":[', "\ufeff"]
WORDS = st.sampled_from(["model_name", "segments", "float", "text_embedding", "audio_embedding", "start_offset_sec"])

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, Modality]:
    """The bytes of a reply, valid or mutated."""
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
    """Any split of any bytes gives the same segments and the same completion or fault as one piece."""
    data, modality = document
    cuts = sorted(rnd.randint(0, len(data)) for _ in range(rnd.randint(1, 12)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert outcome(pieces, modality) == outcome(split(data, 1), modality) == outcome([data], modality)
    assert at_once(data, modality) in (None, outcome([data], modality))


@settings(max_examples=100, deadline=None)
@given(documents())
def test_as_pythons_reader_understands_it(document: tuple[bytes, Modality]) -> None:
    """The result equals that of Python's JSON parser, and what it refuses is not completed."""
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
    """Return the vectors of a reply parsed as a whole; raise ValueError, KeyError or TypeError if it is invalid."""
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
