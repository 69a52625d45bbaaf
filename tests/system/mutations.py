"""Invalid requests: valid ones with mutated bytes, and messages with arbitrary fields."""

import math
import random
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import file_input, request, text_input, upload_input, url_input

_DEEPEST = 5
_TEXTS = (
    "",
    "marengo3.0",
    "marengo2.7",
    "\x00",
    "é" * 300,
    "http://media.test/a",
    "https://",
    "a" * 70_000,
    "../../x",
    "\U0001f600",
)
_BYTES = (
    b"",
    b"\x00",
    b"RIFF\xff\xff\xff\xffWAVEfmt ",
    b"\x89PNG\r\n\x1a\n",
    bytes(range(256)),
    b"fLaC" + b"\xff" * 40,
)
_INTEGERS = (0, 1, 2, 255, 256, 2**31 - 1, 2**31, 2**32 - 1, -1, -(2**63), 2**63 - 1)
_REALS = (0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e308, 5e-324)

_PARTS = (text_input(), url_input("audio", "http://media.test/a.mp3"), file_input("image", b"\x89PNG"))
_CREATE = request(*_PARTS, model="marengo3.0")
_UPLOAD = [
    pb.CreateEmbeddingFromUploadRequest(request=request(upload_input("audio", file_name="a"))),
    pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(data=b"x" * 100)),
    pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(data=b"y", last=True)),
]
# The messages of a good call of each method.
GOOD: dict[str, list[Message]] = {
    "CreateEmbedding": [_CREATE],
    "CreateEmbeddingUnary": [pb.CreateEmbeddingUnaryRequest(model_name="marengo2.7", inputs=_PARTS)],
    "CreateEmbeddingFromUpload": [*_UPLOAD],
    "ListModels": [pb.ListModelsRequest(page_size=1)],
}


def disturbed(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with up to four mutations."""
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(_ACCIDENTS)(data, rng.randrange(len(data) + 1), rng)
    return data


_ACCIDENTS: tuple[Callable[[bytes, int, random.Random], bytes], ...] = (
    lambda data, at, _: data[:at],
    lambda data, at, rng: data[:at] + data[at + rng.randint(1, 8) :],
    lambda data, at, rng: data[:at] + rng.randbytes(rng.randint(1, 8)) + data[at:],
    lambda data, at, rng: data[:at] + bytes([1 << rng.randrange(8)]) + data[at + 1 :],
    lambda data, at, rng: data[:at] + data[at : at + rng.randint(1, 64)] * 2 + data[at:],
    lambda data, at, _: data[:at] + b"\xff\xff\xff\xff\x0f" + data[at:],
)


def arbitrary(kind: type[Message], rng: random.Random, depth: int = 0) -> Message:
    """Return a message of this type with random fields, each with any value."""
    message = kind()
    for field in message.DESCRIPTOR.fields:
        if depth < _DEEPEST and rng.random() < 0.6:
            _fill(message, field, rng, depth)
    return message


def _fill(message: Message, field: Any, rng: random.Random, depth: int) -> None:
    count = rng.choice((1, 1, 1, 2, 3, 300)) if depth == 0 else rng.randint(1, 2)
    for _ in range(count if field.is_repeated else 1):
        if field.message_type is not None:
            value: Any = arbitrary(field.message_type._concrete_class, rng, depth + 1)
        else:
            value = _scalar(field, rng)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)


def _scalar(field: Any, rng: random.Random) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        return rng.choice(_BYTES if field.type == field.TYPE_BYTES else _TEXTS)
    if field.cpp_type in {field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT}:
        return rng.choice(_REALS)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    low, high = _RANGES.get(field.cpp_type, (-(2**31), 2**31 - 1))
    return rng.choice([value for value in _INTEGERS if low <= value <= high])


_UINT32, _INT64, _UINT64 = 3, 2, 4  # FieldDescriptor.CPPTYPE_*
_RANGES = {_UINT32: (0, 2**32 - 1), _INT64: (-(2**63), 2**63 - 1), _UINT64: (0, 2**64 - 1)}
