"""Runs of `map`: what is yielded, and how far the inputs are read ahead."""

import asyncio
import functools
import itertools
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import grpc
import pytest

from embedwire import Audio, Image, RequestError, Text
from tests.e2e.client.callers import Connect, mapped
from tests.e2e.client.services import Context, Recorder, answering, result, segment, service
from tests.support.ports import NO_SERVER
from tests.support.serving import Served, until


def texts(count: int) -> list[Text]:
    return [Text(f"text {number}", key=f"{number % 3}") for number in range(count)]


async def test_each_input_is_yielded_once(connect: Connect, served: Served) -> None:
    """Each input gives its vectors once, with its key and with its position in results and segments."""
    asked = texts(40)
    async with connect(served.app.target) as client:
        found = await mapped(client.map("marengo3.0", iter(asked), inputs_per_call=7, concurrent_calls=3))
        alone = await client.embed("marengo3.0", asked[39], timeout=10)

    assert sorted(found) == list(range(40))
    for position, embedding in found.items():
        assert embedding.result.input_key == asked[position].key
        assert [part.input_index for part in embedding.segments] == [position]
    assert found[39].vector.tolist() == alone.vector.tolist()
    assert len({embedding.result.request_id for embedding in found.values()}) >= 6


async def test_audio_has_all_its_segments(connect: Connect) -> None:
    """The segments of an input come with its embedding, and those of a failed one do not."""
    sent = [segment(1, 0), segment(0, 0), segment(1, 1), result(1), segment(0, 1), result(0, failure={"code": 13})]
    asked = [Audio(url="http://media.test/a.mp3"), Audio(url="http://media.test/b.mp3")]
    async with service(CreateEmbedding=answering(*sent)) as target, connect(target) as client:
        found = await mapped(client.map("m", asked))

    assert [(part.input_index, part.segment_index) for part in found[1].segments] == [(1, 0), (1, 1)]
    assert found[0].segments == ()
    assert found[0].failure is not None


@pytest.mark.parametrize("kind", ["list", "tuple", "generator", "async generator"])
async def test_every_kind_of_iterable(connect: Connect, served: Served, kind: str) -> None:
    """Lists, tuples, generators and, with AsyncClient, async generators are taken; an empty one gives nothing."""

    async def asynchronous(items: list[Text]) -> AsyncGenerator[Text]:
        for item in items:
            yield item

    make: dict[str, Any] = {"list": list, "tuple": tuple, "generator": iter, "async generator": asynchronous}
    async with connect(served.app.target) as client:
        if kind == "async generator" and not client.is_async:
            with pytest.raises(TypeError):
                client.map("marengo3.0", make[kind](texts(3)))
            return
        found = await mapped(client.map("marengo3.0", make[kind](texts(3))))
        assert await mapped(client.map("marengo3.0", make[kind]([]))) == {}

    assert len(found) == 3


@pytest.mark.parametrize("wrong", [3, None, Text("a"), Image(data=b"i")])
async def test_inputs_that_are_not_iterable_are_refused(connect: Connect, wrong: Any) -> None:
    """A single input, or something else that is not iterable, is a TypeError immediately."""
    async with connect(NO_SERVER) as client:
        with pytest.raises(TypeError):
            client.map("m", wrong)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"inputs_per_call": 0}, ValueError),
        ({"inputs_per_call": 257}, ValueError),
        ({"inputs_per_call": 1.5}, TypeError),
        ({"concurrent_calls": 0}, ValueError),
        ({"concurrent_calls": 1001}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"count_waits": 1}, TypeError),
        ({"run_timeout": float("nan")}, ValueError),
        ({"max_retries": -1}, ValueError),
        ({"chunk_bytes": 0}, ValueError),
        ({"encoding": "base64"}, ValueError),
        ({"request_id": "mine"}, TypeError),
        ({"timeut": 1}, TypeError),
    ],
)
async def test_invalid_options_are_refused(connect: Connect, options: dict[str, Any], error: type[Exception]) -> None:
    """An invalid or unknown option is an error that names it, before an input is read."""
    inputs = iter(texts(1))
    async with connect(NO_SERVER) as client:
        with pytest.raises(error, match=next(iter(options))):
            client.map("m", inputs, **options)
    assert len(list(inputs)) == 1


@pytest.mark.parametrize(("model", "error"), [(None, TypeError), (b"m", TypeError), ("\ud800", ValueError)])
async def test_an_invalid_model_is_refused(connect: Connect, model: Any, error: type[Exception]) -> None:
    """A model that is not a string, or cannot be encoded, is an error that names it, before an input is read."""
    inputs = iter(texts(1))
    async with connect(NO_SERVER) as client:
        with pytest.raises(error, match="model"):
            client.map(model, inputs)
        for asked in (Text("a"), texts(2)):
            with pytest.raises(error, match="model"):
                await client.embed(model, asked)
    assert len(list(inputs)) == 1


async def test_a_slow_consumer_bounds_the_reading(connect: Connect, served: Served) -> None:
    """No more than inputs_per_call x concurrent_calls inputs are read ahead of those that were taken."""
    read = taken = ahead = 0

    def endless() -> Iterator[Text]:
        nonlocal read, ahead
        for number in itertools.count():
            read += 1
            ahead = max(ahead, read - taken)
            yield Text(f"{number}")

    def has_read(ahead: int) -> bool:
        return read >= taken + ahead

    async with (
        connect(served.app.target) as client,
        client.map("marengo3.0", endless(), inputs_per_call=3, concurrent_calls=2) as embeddings,
    ):
        for _ in range(20):
            await anext(embeddings)
            taken += 1
            await until(functools.partial(has_read, 6))

    assert ahead in (6, 7)  # the next one may be read before `taken` is counted


async def test_a_slow_iterator_does_not_delay_results(connect: Connect, served: Served) -> None:
    """An input is embedded and yielded while the iterator blocks before the next one."""
    is_taken = threading.Event()

    def slow() -> Iterator[Text]:
        yield Text("first")
        assert is_taken.wait(60)
        yield Text("second")

    async with connect(served.app.target) as client, client.map("marengo3.0", slow()) as embeddings:
        first = await anext(embeddings)
        is_taken.set()
        second = await anext(embeddings)
        rest = await mapped(embeddings)

    assert [first.result.input_index, second.result.input_index, len(rest)] == [0, 1, 0]


class OwnError(Exception):
    """An exception of the iterator."""


async def test_an_exception_of_the_iterator_is_raised_last(connect: Connect, served: Served) -> None:
    """If the iterator raises, the inputs that it gave are embedded, and then its exception is raised, once."""

    def failing() -> Iterator[Text]:
        yield from texts(5)
        raise OwnError

    async with connect(served.app.target) as client:
        embeddings = client.map("marengo3.0", failing(), inputs_per_call=2)
        found = [await anext(embeddings) for _ in range(5)]
        with pytest.raises(OwnError):
            await anext(embeddings)
        assert await anext(embeddings, None) is None

    assert {embedding.result.input_index for embedding in found} == set(range(5))


async def test_something_else_than_an_input_is_raised_last(connect: Connect, served: Served) -> None:
    """If the iterator gives something else, its inputs are embedded, then a TypeError names the position."""
    is_closed = threading.Event()

    def wrong() -> Iterator[Any]:
        try:
            yield Text("a")
            yield "b"
        finally:
            is_closed.set()

    async with connect(served.app.target) as client:
        embeddings = client.map("marengo3.0", wrong())
        await anext(embeddings)
        with pytest.raises(TypeError, match=r"inputs\[1\]: must be Text, Image or Audio, got str"):
            await anext(embeddings)
    assert await asyncio.to_thread(is_closed.wait, 10)


async def test_a_finished_run_stays_finished(connect: Connect, served: Served) -> None:
    """After its last embedding a run raises StopIteration for every further request, also after close()."""
    async with connect(served.app.target) as client:
        embeddings = client.map("marengo3.0", [Text("a")])
        assert len(await mapped(embeddings)) == 1
        assert await mapped(embeddings) == {}
        await embeddings.close()
        assert await mapped(embeddings) == {}


async def test_a_call_that_fails_gives_its_failure_to_its_inputs(connect: Connect) -> None:
    """Inputs that have a result keep it; the others get the failure of the call, and other calls are not affected."""
    failed: list[str] = []

    async def create(request: Any, context: Context) -> AsyncGenerator[Any]:
        values = [item.text.value for item in request.inputs]
        yield segment(0)
        yield result(0)
        if not failed and len(values) > 1:
            failed.extend(values[1:])
            await context.abort(grpc.StatusCode.UNKNOWN, "of a proxy")
        for index in range(1, len(values)):
            yield result(index)

    async with service(CreateEmbedding=create) as target, connect(target) as client:
        found = await mapped(client.map("m", texts(40), inputs_per_call=10))

    assert failed
    for position, embedding in found.items():
        if f"text {position}" not in failed:
            assert embedding.failure is None
            continue
        assert embedding.failure is not None
        assert (embedding.failure.code, embedding.failure.reason) == ("UNKNOWN", "")
        assert embedding.failure.message == "of a proxy"
        with pytest.raises(ConnectionError):
            embedding.result.raise_for_failure()


async def test_an_answer_for_an_unknown_input_fails_its_call(connect: Connect) -> None:
    """An event for an input that was not sent is the failure of the inputs of that call."""
    async with service(CreateEmbedding=answering(result(7))) as target, connect(target) as client:
        found = await mapped(client.map("m", texts(2)))
    assert [embedding.failure and embedding.failure.reason for embedding in found.values()] == ["INTERNAL"] * 2


async def test_an_input_without_an_answer_fails(connect: Connect) -> None:
    """If a call ends well without a result for an input, that fails, with the id of the call."""
    async with service(CreateEmbedding=answering(segment(0), result(0))) as target, connect(target) as client:
        found = await mapped(client.map("m", texts(2)))
    assert found[0].failure is None
    failure = found[1].failure
    assert failure is not None
    assert (failure.code, failure.reason) == ("INTERNAL", "INTERNAL")
    assert failure.message == "the server ended the call without a result for this input"
    assert found[1].result.request_id == found[0].result.request_id


async def test_options_reach_the_server(connect: Connect) -> None:
    """The deadline, the retries and the encoding of a run are those of each of its calls."""
    recorder = Recorder()
    asked = [Text("a"), Audio(url="http://media.test/a.mp3"), Text("b")]
    async with recorder.serving() as target, connect(target) as client:
        await mapped(client.map("m", asked, inputs_per_call=1, max_retries=2, encoding="float_values"))
        await mapped(client.map("m", asked, inputs_per_call=1, timeout=30))

    remaining = sorted(filter(None, recorder.remaining))
    assert [round(seconds, -1) for seconds in remaining[:5]] == [30] * 3 + [60, 60]
    assert remaining[5] == pytest.approx(3600, abs=20)  # gRPC sends it in steps of 10 s
    assert [request.max_retries for request in recorder.requests[:3]] == [2, 2, 2]
    assert not recorder.requests[3].HasField("max_retries")
    assert {request.vector_encoding for request in recorder.requests[:3]} == {1}
    assert {request.max_segments_per_message for request in recorder.requests} == {100}


async def test_a_violation_names_the_position(connect: Connect, served: Served) -> None:
    """Invalid inputs fail with the violations that name them, at their positions; all others are embedded."""
    asked = [Text("" if number in (3, 4, 11) else "fine") for number in range(12)]
    async with connect(served.app.target) as client:
        found = await mapped(client.map("marengo3.0", asked, inputs_per_call=5))

    for position, embedding in found.items():
        if position not in (3, 4, 11):
            assert embedding.failure is None
            continue
        assert embedding.failure is not None
        assert embedding.failure.message == f"inputs[{position}].text.value: must not be empty"
        assert [violation.field for violation in embedding.failure.violations] == [f"inputs[{position}].text.value"]
        with pytest.raises(RequestError):
            embedding.result.raise_for_failure()
