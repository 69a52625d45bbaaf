"""Bytes on an upstream connection that belong to no request: they close it, and no caller receives them."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.raw_upstream import SECONDS, RawUpstream, Request, Server, Step, chunked, embed, http, vector
from tests.support.serving import serving

UNSOLICITED = {
    "response": http(vector(500)),
    "two-responses": http(vector(500)) * 2,
    "chunked-response": chunked(vector(500)),
    "half-a-response": http(vector(500))[:600],
    "half-a-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "head": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    "byte": b"x",
    "line-end": b"\r\n",
    "two-line-ends": b"\r\n\r\n",
    "chunk-end": b"0\r\n\r\n",
    "garbage": b"\0\xff" * 100,
    "bad-gateway": http(b"", "502 Bad Gateway"),
    "timeout": http(b"", "408 Request Timeout", "Connection: close"),
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    "much": http(vector(500)) * 200,
}
ANSWERS: dict[str, Callable[[int], bytes]] = {
    "length": lambda number: http(vector(number)),
    "chunks": lambda number: chunked(vector(number)),
    "chunks-with-trailers": lambda number: chunked(vector(number), trailer=b"X-Sum: 1\r\n"),
}


def _once(
    *first: Step, number: int = 0, answer: Callable[[int], bytes] = ANSWERS["length"]
) -> Callable[[Request], list[Step]]:
    """Answer this number with these steps, all others normally."""
    return lambda asked: list(first) if asked.number == number else [answer(asked.number)]


def _rounds() -> Iterator[tuple[str, bytes, range]]:
    """Each kind of unsolicited bytes, and the numbers of four requests. The bytes follow the response to the first."""
    for index, (name, extra) in enumerate(UNSOLICITED.items()):
        yield name, extra, range(4 * index, 4 * index + 4)


def _check_connections(upstream: RawUpstream) -> None:
    """The first request of a round uses the connection of the round before, the others a new one; none is repeated."""
    expected = [index + 1 + (number > 0) for index in range(len(UNSOLICITED)) for number in range(4)]
    assert upstream.numbers == list(range(len(expected)))
    assert [one.connection for one in upstream.requests] == expected


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_bytes_on_an_idle_connection(answer: Callable[[int], bytes]) -> None:
    """Bytes between two requests close the connection: each caller gets its own vector, without a retry."""
    upstream = RawUpstream(lambda _: [])
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            for name, extra, numbers in _rounds():
                is_answered, is_sent = threading.Event(), threading.Event()
                steps: list[Step] = [answer(numbers[0]), is_answered, extra, is_sent.set]
                upstream.script = _once(*steps, number=numbers[0], answer=answer)
                first = await embed(served, numbers[0])
                is_answered.set()
                await asyncio.to_thread(is_sent.wait, SECONDS)
                assert [first, *[await embed(served, number) for number in numbers[1:]]] == list(numbers), name
    _check_connections(upstream)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("cut", [None, 20, 200, -1], ids=["one-piece", "in-the-head", "in-the-body", "at-the-end"])
async def test_bytes_behind_a_response(answer: Callable[[int], bytes], cut: int | None) -> None:
    """Bytes in the same TCP segment as the end of a response corrupt neither that response nor the next."""
    upstream = RawUpstream(lambda _: [])
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            for name, extra, numbers in _rounds():
                head_is_read, whole = threading.Event(), answer(numbers[0])
                data = whole + extra
                place = None if cut is None else len(whole) + cut if cut < 0 else cut
                steps: list[Step] = [data] if place is None else [data[:place], head_is_read, data[place:]]
                upstream.script = _once(*steps, number=numbers[0], answer=answer)
                first = asyncio.create_task(embed(served, numbers[0]))
                while len(upstream.requests) <= numbers[0]:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.02)  # so that the pieces are two segments; the result is the same if not
                head_is_read.set()
                assert [await first, *[await embed(served, number) for number in numbers[1:]]] == list(numbers), name
    _check_connections(upstream)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "400 Bad Request"])
@pytest.mark.parametrize("extra", [http(vector(500)), http(vector(500))[:100], b"x"], ids=["response", "half", "byte"])
async def test_bytes_behind_a_response_without_a_body(status: str, extra: bytes) -> None:
    """A response without a body is complete at the end of its headers."""
    head = f"HTTP/1.1 {status}\r\n{'Content-Length: 0' if status[0] == '4' else 'X-Y: z'}\r\n\r\n".encode()
    upstream = RawUpstream(_once(head + extra))
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            assert isinstance(await embed(served, 0), str)
            assert [await embed(served, number) for number in (1, 2)] == [1, 2]


@pytest.mark.parametrize("extra", UNSOLICITED.values(), ids=UNSOLICITED)
async def test_unread_bytes_are_found_before_the_next_request(extra: bytes) -> None:
    """Bytes in the kernel's buffer when the next request is written are found, although the event loop was blocked."""
    is_answered, is_sent = threading.Event(), threading.Event()
    upstream = RawUpstream(_once(http(vector(0)), is_answered, extra, is_sent.set))
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            assert await embed(served, 0) == 0
            following = [asyncio.create_task(embed(served, number)) for number in (1, 2)]
            await asyncio.sleep(0)
            is_answered.set()
            is_sent.wait(SECONDS)  # the server runs on the event loop that this blocks
            assert await asyncio.gather(*following) == [1, 2]


@pytest.mark.parametrize("extra", [http(vector(500)), b"x", b"SSH-2.0-x\r\n"], ids=["response", "byte", "ssh"])
async def test_bytes_before_the_first_request(extra: bytes) -> None:
    """Bytes on a new connection before its request are not a response to it: no request is sent there."""
    served_on: list[asyncio.BaseTransport] = []

    class SpeaksFirst(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            served_on.append(transport)
            transport.write(extra)  # type: ignore[attr-defined] # a stream's

        def data_received(self, data: bytes) -> None:
            requests.append(data)

    requests: list[bytes] = []
    # On the same event loop, so that it writes in the step in which it accepts: before the client can.
    server = await asyncio.get_running_loop().create_server(SpeaksFirst, "127.0.0.1", 0)
    async with server, serving(upstream=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as served:
        assert await embed(served, 1, max_retries=0) == "UPSTREAM_UNAVAILABLE"
        assert requests == []
        assert served.metric("embedwire_upstream_requests_total") == 0
    for transport in served_on:
        transport.close()


async def test_late_responses_of_cancelled_calls() -> None:
    """A response that arrives after its call was cancelled reaches no other call."""
    cancellation_requested = threading.Event()

    def script(asked: Request) -> Iterator[Step]:
        if asked.number >= 100:
            yield cancellation_requested
        yield http(vector(asked.number))

    upstream = RawUpstream(script)
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            assert [await embed(served, number) for number in (1, 2)] == [1, 2]
            late = [asyncio.create_task(embed(served, number)) for number in range(100, 108)]
            while len(upstream.requests) < 10:
                await asyncio.sleep(0.01)
            for call in late:
                call.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            cancellation_requested.set()
            numbers = list(range(10, 30))
            assert await asyncio.gather(*[embed(served, number) for number in numbers]) == numbers


class Rounds:
    """Callers with one request on each connection, and unsolicited bytes at random points.

    A response that crosses a request on its way cannot be distinguished from the response to it. So all requests of a
    round are read before one is answered, and the next round begins when all unsolicited bytes of this one are sent.
    """

    def __init__(self, callers: int, rounds: int, seed: int) -> None:
        self.callers, self.rounds = callers, rounds
        self._chance, self._lock = random.Random(seed), threading.Lock()
        self._all_asked, self._all_sent = threading.Barrier(callers), threading.Barrier(callers + 1)
        self._all_answered = [threading.Event() for _ in range(rounds)]

    def __call__(self, asked: Request) -> Iterator[Step]:
        self._all_asked.wait(SECONDS)
        with self._lock:
            extra = self._chance.choice(list(UNSOLICITED.values())) if self._chance.random() < 0.6 else b""
            cut, kind = self._chance.randrange(600), self._chance.choice(list(ANSWERS.values()))
            is_behind = self._chance.random() < 0.5
        answer = kind(asked.number)
        yield answer[:cut]
        yield answer[cut:] + (extra if is_behind else b"")
        yield self._all_answered[asked.number // self.callers]
        yield b"" if is_behind else extra
        yield lambda: self._all_sent.wait(SECONDS)

    async def play(self, served: Server) -> list[int | str]:
        """The vectors that the callers got; the expected result is 0, 1, 2 and so on."""
        got: list[int | str] = []
        for round_ in range(self.rounds):
            numbers = range(self.callers * round_, self.callers * (round_ + 1))
            got += await asyncio.gather(*[embed(served, number) for number in numbers])
            self._all_answered[round_].set()
            await asyncio.to_thread(self._all_sent.wait, SECONDS)
        return got


async def test_concurrent_callers() -> None:
    """Unsolicited bytes at random points of eight connections: each of eight callers gets its own vector."""
    rounds = Rounds(8, 25, seed=15)
    upstream = RawUpstream(rounds)
    with upstream.running() as url:
        async with serving(upstream=url, retry_max_attempts=1) as served:
            assert await rounds.play(served) == list(range(200))
    assert len(upstream.requests) == 200
    assert 8 < upstream.connections < 200


async def test_a_connection_without_unsolicited_bytes_is_kept() -> None:
    """While only responses arrive, one connection carries all requests."""
    upstream = RawUpstream(lambda asked: [list(ANSWERS.values())[asked.number % 3](asked.number)])
    with upstream.running() as url:
        async with serving(upstream=url) as served:
            assert [await embed(served, number) for number in range(20)] == list(range(20))
    assert upstream.connections == 1
