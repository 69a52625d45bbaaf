"""Replies of the upstream: successes, refusals, and scripts that choose among them."""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence

from tests.support.upstreams import reply
from tests.system.upstream import Answer, Asked, Ending, Script, Step

_DIMENSIONS = {"marengo3.0": 512, "Marengo-retrieval-2.7": 1024}


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@functools.cache
def _good(modality: str, model: str) -> Answer:
    body = reply(f"{modality}_embedding", dimensions=_DIMENSIONS.get(model, 512)) | {"model_name": model}
    return Answer("200", [http(200, json.dumps(body, separators=(",", ":")).encode())])


def good(asked: Asked) -> Answer:
    """Return the reply that the request requires."""
    return _good(asked.line.modality or "text", asked.field("model_name"))


def refusal(status: int, *headers: str, **body: object) -> Answer:
    return Answer(str(status), [http(status, json.dumps(body).encode() if body else b"", *headers)])


def chance(seed: int, *about: object) -> float:
    """Return a number from 0 to 1 that depends only on the seed and the key."""
    digest = hashlib.blake2b(repr((seed, *about)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def failing(rate: float, seed: int, status: int = 503, otherwise: Script = good) -> Script:
    """Fail this share of the requests: the same inputs at the same attempts, in any order."""
    failure = refusal(status)
    return lambda asked: failure if chance(seed, asked.line.input, asked.line.attempt) < rate else otherwise(asked)


def outage(window: Callable[[], tuple[float, float]], status: int = 503) -> Script:
    """Fail all requests within a window of time."""
    failure = refusal(status)

    def script(asked: Asked) -> Answer:
        start, end = window()
        return failure if start <= asked.line.at < end else good(asked)

    return script


def slow(seconds: float, otherwise: Script = good) -> Script:
    return lambda asked: Answer("slow", [seconds, *otherwise(asked).steps])


def always(label: str, *steps: Step) -> Script:
    answer = Answer(label, steps)
    return lambda _: answer


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
HANGS: dict[str, Script] = {
    "before the headers": always("hang", Ending.HANG),
    "in the middle": always("hang in the middle", _HEAD + b'{"model_name": "mar', Ending.HANG),
    "one byte every 100 ms": always("drip", _HEAD, *[step for _ in range(1000) for step in (b" ", 0.1)]),
}


def segments(count: int, seconds: float) -> Sequence[Step]:
    """Return an audio reply whose segments are spread over this time."""
    body = json.dumps(reply("audio_embedding", segments=count)).encode()
    pieces = body.split(b'{"float"')
    steps: list[Step] = [http(200, body)[: -len(body)] + pieces[0]]
    for piece in pieces[1:]:
        steps += [seconds / count, b'{"float"' + piece]
    return steps
