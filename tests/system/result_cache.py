"""Identical texts: requests that are coalesced, results that are cached, entries that are damaged."""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import random
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from redis.asyncio import Redis

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.support.messages import text_input
from tests.support.pki import bearer, sha256
from tests.support.redis import RedisServer
from tests.system.answers import http
from tests.system.experiment import Experiment, guarantee
from tests.system.server import Server
from tests.system.upstream import Answer, Asked
from tests.system.verdict import Verdict

IDENTICAL, DIMENSIONS, SECONDS = 1000, 512, 60
# All calls of one host are accepted, whether or not they are coalesced.
ROOM = {"concurrency_queue_per_modality": 2 * IDENTICAL}
TOKENS = "".join(f'[[tokens]]\nname = "{name}"\nsha256 = "{sha256(name)}"\n' for name in ("a", "b"))


@dataclasses.dataclass
class _Gate:
    """The upstream's answers wait for it; each is a vector that belongs to the text."""

    opened: "asyncio.Future[None]" = dataclasses.field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def script(self, asked: Asked) -> Answer:
        segments = [{"float": _vector(asked.line.input)}]
        body = {"model_name": "marengo3.0", "text_embedding": {"segments": segments}}
        return Answer("200", [self.opened, http(200, json.dumps(body).encode())])

    def open(self) -> None:
        self.opened.set_result(None)


def _vector(text: str) -> list[float]:
    return [hashlib.sha256(text.encode()).digest()[0] / 256 + index for index in range(DIMENSIONS)]


def _is_right(answer: pb.InputEmbedding, text: str) -> bool:
    """Whether it has one vector, that of the text."""
    vectors = [np.frombuffer(segment.vector.float32_le, "<f4").tolist() for segment in answer.segments]
    return vectors == [np.array(_vector(text), "<f4").tolist()]


def _status(answer: pb.InputEmbedding) -> str:
    return pb.CacheStatus.Name(answer.result.cache_status).removeprefix("CACHE_STATUS_")


@dataclasses.dataclass
class _Callers:
    """Clients of one server; each call goes to the next connection."""

    channels: list[grpc.aio.Channel]
    begun: int = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, server: Server) -> AsyncGenerator["_Callers"]:
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with contextlib.AsyncExitStack() as stack:
            channels = [grpc.aio.insecure_channel(server.target, options) for _ in range(4)]
            yield cls([await stack.enter_async_context(channel) for channel in channels])

    async def embed(self, text: str, token: str = "") -> pb.InputEmbedding:
        """Make one call with one text."""
        self.begun += 1
        stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(self.channels[self.begun % len(self.channels)])
        asked = pb.CreateEmbeddingUnaryRequest(
            model_name="marengo3.0", inputs=[text_input(text)], vector_encoding=pb.VECTOR_ENCODING_FLOAT32_LE
        )
        answer = await stub.CreateEmbeddingUnary(asked, timeout=SECONDS, metadata=bearer(token) if token else ())
        (result,) = answer.embeddings
        return result  # type: ignore[no-any-return] # the stub is untyped


async def _in_flight(server: Server, count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while (await server.sums("embedwire_inputs_in_flight")).total() != count:
            await asyncio.sleep(0.05)


@guarantee("coalescing")
async def identical_texts_share_a_request(experiment: Experiment) -> Verdict:
    """1,000 concurrent identical texts cause one upstream request; when 999 callers leave, the last gets its answer."""
    verdict = Verdict()
    async with (
        experiment.upstream(_Gate().script) as upstream,
        experiment.server(upstream.base_url, cache_coalescing="true", **ROOM) as server,
        _Callers.connected(server) as callers,
    ):
        for left in (0, IDENTICAL - 1):
            gate, text = _Gate(), f"the same, {left} leave"
            upstream.script = gate.script
            calls = [asyncio.create_task(callers.embed(text)) for _ in range(IDENTICAL)]
            await _in_flight(server, IDENTICAL)
            for call in calls[:left]:
                call.cancel()
            await _in_flight(server, IDENTICAL - left)
            gate.open()
            answers = await asyncio.gather(*calls[left:], return_exceptions=True)
            right = sum(isinstance(one, pb.InputEmbedding) and _is_right(one, text) for one in answers)
            verdict.exactly(f"right answers after {left} have left", right, IDENTICAL - left)
            verdict.exactly("upstream requests", len(upstream.journal.of(text)), 1)
    return verdict


@guarantee("cache-tenants")
async def tenants_share_nothing(experiment: Experiment) -> Verdict:
    """The same text of two tenants causes two upstream requests, concurrent or not, in every store."""
    verdict = Verdict()
    tokens = experiment.directory / f"{experiment.name}.toml"
    tokens.write_text(TOKENS)
    async with RedisServer.running() as redis:
        for store in ("memory", redis.text):
            answers = await _of_tenants(experiment, tokens, store)
            while answers.errors:  # a busy machine was too slow for Redis, which causes more requests
                await redis.command("FLUSHALL")
                answers = await _of_tenants(experiment, tokens, store)
            where = "memory" if store == "memory" else "Redis"
            verdict.exactly(f"requests ({where})", answers.requests, 2)
            right = sum(_is_right(one, "the same") for one in answers.results)
            verdict.exactly("right answers", right, len(answers.results))
            statuses = Counter(map(_status, answers.results))
            verdict.exactly("statuses", dict(sorted(statuses.items())), {"COALESCED": 2, "HIT": 4, "MISS": 2})
    tokens.unlink()
    return verdict


@dataclasses.dataclass
class _Answers:
    """What two tenants have got, and the upstream requests and failed operations of Redis that it took."""

    results: list[pb.InputEmbedding]
    requests: int
    errors: int


async def _of_tenants(experiment: Experiment, tokens: Path, store: str) -> _Answers:
    """Embed the same text twice at the same time and twice later for each of two tenants, with a new server."""
    gate = _Gate()
    async with (
        experiment.upstream(gate.script) as upstream,
        experiment.server(upstream.base_url, config=tokens, cache_store=store) as server,
        _Callers.connected(server) as callers,
    ):
        calls = [asyncio.create_task(callers.embed("the same", token)) for token in "aabb"]
        await _in_flight(server, len(calls))
        gate.open()
        results = list(await asyncio.gather(*calls))
        await asyncio.sleep(0.2)  # results are stored in the background
        results += [await callers.embed("the same", token) for token in "abab"]
        return _Answers(results, len(upstream.journal), await _errors(server))


@guarantee("cache-damage")
async def damaged_entries_are_misses(experiment: Experiment) -> Verdict:
    """Truncated, changed and exchanged entries of Redis are misses: each answer is right and from the upstream."""
    numbers = random.Random(experiment.seed)
    gate = _Gate()
    gate.open()
    async with (
        RedisServer.running() as redis,
        experiment.upstream(gate.script) as upstream,
        experiment.server(upstream.base_url, cache_store=redis.text) as server,
        _Callers.connected(server) as callers,
        Redis.from_url(redis.text) as client,
    ):
        key, entry = await _stored(callers, client, "the same")
        _, other = await _stored(callers, client, "another")
        damaged = _damaged(entry, other, numbers, experiment.scaled(2000, 200))
        before, statuses, wrong, repaired = len(upstream.journal), Counter[str](), 0, 0
        for content in damaged:
            await client.set(key, content)
            result = await callers.embed("the same")
            statuses[_status(result)] += 1
            wrong += not _is_right(result, "the same")
            # It is stored in the background, and would replace the next one.
            repaired += not await _becomes(server, client, key, entry)
        requests = len(upstream.journal) - before
        await client.set(key, entry)
        intact = await _read(server, callers, "the same")
        errors = await _errors(server)
    verdict = Verdict()
    verdict.exactly(f"of {len(damaged)} damaged entries: wrong answers", wrong, 0)
    verdict.exactly("statuses", dict(statuses), {"MISS": len(damaged)})
    verdict.exactly("upstream requests", requests, len(damaged))
    verdict.at_most(f"not stored again, with {errors} slow operations", repaired, errors)
    verdict.exactly("for the intact one", _status(intact), "HIT")
    return verdict


async def _stored(callers: _Callers, client: Redis, text: str) -> tuple[Any, Any]:
    """Embed a text; return the new key and its content."""
    before = set(await client.keys())
    async with asyncio.timeout(SECONDS):
        await callers.embed(text)
        while not (new := set(await client.keys()) - before):
            await asyncio.sleep(0.5)  # it is stored in the background
            await callers.embed(text)  # Redis may have been too slow for the one before
    (key,) = new
    return key, await client.get(key)


async def _becomes(server: Server, client: Redis, key: Any, entry: bytes) -> bool:
    """Wait until the server has stored the entry; after a second, store it. Return whether the server did."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            while await client.get(key) != entry:
                await asyncio.sleep(0.001)
            return True
    await _uses_redis(server)
    return not await client.set(key, entry)


async def _read(server: Server, callers: _Callers, text: str) -> pb.InputEmbedding:
    """Embed a text that is stored; again if Redis was too slow for the server."""
    while True:
        errors = await _errors(server)
        result = await callers.embed(text)
        if _status(result) == "HIT" or await _errors(server) == errors:
            return result
        await _uses_redis(server)


async def _errors(server: Server) -> int:
    return (await server.sums("embedwire_redis_errors_total")).total()


async def _uses_redis(server: Server) -> None:
    """Wait until the server uses Redis, which it does not for a second after an operation that was too slow."""
    async with asyncio.timeout(SECONDS):
        while not (await server.sums("embedwire_redis_up")).total():
            await asyncio.sleep(0.05)


def _damaged(entry: bytes, other: bytes, numbers: random.Random, count: int) -> list[bytes]:
    """Return truncated entries, those with one changed bit, with bytes more, and the entry of another text."""
    found = [b"", other, entry + b"\0", b"\0" * len(entry), entry[1:]]
    while len(found) < count:
        at = numbers.randrange(len(entry))
        changed = bytearray(entry)
        changed[at] ^= 1 << numbers.randrange(8)
        found += [entry[:at], bytes(changed)]
    return found
