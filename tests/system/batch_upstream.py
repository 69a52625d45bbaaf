"""An upstream whose vectors depend on the content of the input, and which counts the requests for each content."""

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import io
import re
from collections import Counter

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from tests.system.answers import chance, http, refusal
from tests.system.upstream import Answer, Asked

DIMENSIONS = 512
SEGMENTS = {"text": 1, "image": 1, "audio": 3}
REJECTED = "rejected by the upstream"  # a text with this beginning
SECONDS = 0.01  # to an answer
# Each 429 pauses the server, so that most failures are 503.
FAILURES = (refusal(429, "Retry-After: 0.05", code="too_many_requests"), refusal(503), refusal(503), refusal(503))

_PART = re.compile(rb'name="(text|image_file|audio_file)"[^\r]*(?:\r\n[^\r]+)?\r\n\r\n')
_NUMBERS = [repr(byte / 128 - 1) for byte in range(256)]
_REPEATS = DIMENSIONS // 64


def identity(modality: str, content: bytes) -> bytes:
    """Return what identifies an input: 64 bytes."""
    return hashlib.blake2b(content, person=modality.encode()).digest()


def vector(one: bytes, segment: int) -> NDArray[np.float32]:
    """Return the vector of a segment of the input with this identity."""
    return np.frombuffer(_bytes(one, segment), np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)


def _bytes(one: bytes, segment: int) -> bytes:
    return hashlib.blake2b(one, salt=bytes([segment])).digest() * _REPEATS


@dataclasses.dataclass
class BatchUpstream:
    """The script of the upstream, and its counts.

    Attributes:
        seed: of the failures.
        failing: share of the replies that are 429 or 503.
        seconds: to an answer.
        requests: number of requests for each identity.
        failed: number of replies that were 429 or 503.
        rejected: number of replies that reject the input.
    """

    seed: int = 0
    failing: float = 0.0
    seconds: float = SECONDS
    requests: Counter[bytes] = dataclasses.field(default_factory=Counter)
    failed: int = 0
    rejected: int = 0
    _awaited: "dict[asyncio.Future[None], int]" = dataclasses.field(default_factory=dict)

    async def reached(self, inputs: int) -> None:
        """Wait until this number of different inputs has been requested."""
        if len(self.requests) < inputs:
            future = asyncio.get_running_loop().create_future()
            self._awaited[future] = inputs
            await future

    def script(self, asked: Asked) -> Answer:
        """Answer a request by its content."""
        modality, content = _content(asked.body)
        one = identity(modality, content)
        self._count(one)
        if chance(self.seed, one, self.requests[one]) < self.failing:
            self.failed += 1
            return FAILURES[self.failed % len(FAILURES)]
        if not _is_valid(modality, content):
            self.rejected += 1
            return refusal(400, code="parameter_invalid", message=f"The {modality} parameter is invalid.")
        return Answer("200", [self.seconds, _reply(modality, one)])

    def _count(self, one: bytes) -> None:
        self.requests[one] += 1
        for future in [future for future, inputs in self._awaited.items() if len(self.requests) >= inputs]:
            del self._awaited[future]
            if not future.done():
                future.set_result(None)


def _content(body: bytes) -> tuple[str, bytes]:
    found = _PART.search(body)
    if found is None:
        return "", b""
    boundary = body[: body.index(b"\r\n")]
    return found[1].decode().removesuffix("_file"), body[found.end() : body.index(b"\r\n" + boundary, found.end())]


def _reply(modality: str, one: bytes) -> bytes:
    segments = ",".join([_segment(modality, one, index) for index in range(SEGMENTS[modality])])
    return http(200, f'{{"model_name":"marengo3.0","{modality}_embedding":{{"segments":[{segments}]}}}}'.encode())


def _segment(modality: str, one: bytes, index: int) -> str:
    offsets = f',"start_offset_sec":{2 * index},"end_offset_sec":{2 * index + 2},"embedding_option":"audio"'
    numbers = ",".join([_NUMBERS[byte] for byte in _bytes(one, index)])
    return f'{{"float":[{numbers}]{offsets if modality == "audio" else ""}}}'


def _is_valid(modality: str, content: bytes) -> bool:
    """Return whether the content is a text that is not refused, or a file that a decoder accepts."""
    if modality == "text":
        return not content.startswith(REJECTED.encode())
    return _decodes(modality, content)


@functools.lru_cache(maxsize=1024)
def _decodes(modality: str, content: bytes) -> bool:
    with contextlib.suppress(OSError, SyntaxError, soundfile.SoundFileError):
        if modality == "image":
            Image.open(io.BytesIO(content)).load()
        else:
            soundfile.info(io.BytesIO(content))
        return True
    return False
