"""Many streams as one."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from embedwire_server.merge import merge


class Streams:
    """Makes streams and knows which are running, which have been closed, and how much they gave."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.running: set[str] = set()
        self.most_running = 0
        self.given = 0

    async def __call__(self, name: str, count: int, failure: Exception | None = None) -> AsyncGenerator[str]:
        self.started.append(name)
        self.running.add(name)
        self.most_running = max(self.most_running, len(self.running))
        try:
            for number in range(count):
                await asyncio.sleep(0)
                self.given += 1
                yield f"{name}{number}"
            if failure is not None:
                raise failure
        finally:
            await asyncio.sleep(0)  # closing takes its time, and must be waited for
            self.running.remove(name)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(200):
        await asyncio.sleep(0)


async def never() -> AsyncGenerator[str]:
    await asyncio.Event().wait()
    yield "never"


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
async def test_everything_in_order(at_once: int) -> None:
    """Every item comes once, and those of one stream in their order."""
    streams = Streams()
    counts = {"a": 5, "b": 0, "c": 1, "d": 7, "e": 3}
    items = [item async for item in merge([streams(name, count) for name, count in counts.items()], at_once)]
    assert {name: [item for item in items if item[0] == name] for name in counts} == {
        name: [f"{name}{number}" for number in range(count)] for name, count in counts.items()
    }
    assert streams.started == list(counts)
    assert streams.most_running == min(at_once, len(counts))
    assert not streams.running


async def test_interleaving() -> None:
    """What is ready comes first: a stream that waits holds up no other."""
    streams = Streams()
    async with contextlib.aclosing(merge([never(), streams("b", 2), streams("c", 2)], 3)) as merged:
        assert {await anext(merged) for _ in range(4)} == {"b0", "b1", "c0", "c1"}


async def test_one_after_the_other() -> None:
    """One at a time means in their order, from the first item to the last."""
    streams = Streams()
    items = [item async for item in merge([streams("a", 2), streams("b", 2)], 1)]
    assert items == ["a0", "a1", "b0", "b1"]


@pytest.mark.parametrize("at_once", [1, 2, 4])
async def test_back_pressure(at_once: int) -> None:
    """A slow consumer slows the streams down: a bounded number of items waits for it."""
    streams = Streams()
    async with contextlib.aclosing(merge([streams(name, 1000) for name in "abcdef"], at_once)) as merged:
        for taken in range(1, 20):
            await anext(merged)
            await settle()
            # one in the hands of each stream, as many in between
            assert streams.given <= taken + 2 * at_once


async def test_back_pressure_of_one_stream() -> None:
    """A single stream is only asked for what is taken."""
    streams = Streams()
    async with contextlib.aclosing(merge([streams("a", 1000)], 16)) as merged:
        await anext(merged)
        await settle()
        assert streams.given == 1


@pytest.mark.parametrize("others", [[], ["b", "c"]], ids=["single", "several"])
async def test_first_failure_ends_all(others: list[str]) -> None:
    """The failure of one stream is raised, after every started one has been closed; no other is started."""
    streams = Streams()
    late = streams("z", 1)
    failing = streams("a", 3, ValueError("first"))
    merged = merge([failing, *(streams(name, 10_000) for name in others), *([late] if others else [])], 3)
    with pytest.raises(ValueError, match="first"):
        async for _ in merged:
            pass
    assert not streams.running
    assert "z" not in streams.started


@pytest.mark.parametrize("names", ["a", "abc"], ids=["single", "several"])
@pytest.mark.parametrize("taken", [1, 5])
async def test_early_close(names: str, taken: int) -> None:
    """A consumer that stops early leaves no stream open."""
    streams = Streams()
    merged = merge([streams(name, 1000) for name in names], 2)
    for _ in range(taken):
        await anext(merged)
    assert streams.running
    await merged.aclose()
    assert not streams.running
    assert len(streams.started) == min(2, len(names))


@pytest.mark.parametrize("names", ["a", "abc"], ids=["single", "several"])
@pytest.mark.parametrize("parked", [False, True], ids=["while waiting", "while parked"])
async def test_cancellation(names: str, *, parked: bool) -> None:
    """A consumer that is cancelled leaves no stream open, wherever the cancellation finds it."""
    streams = Streams()

    async def waiting(name: str) -> AsyncGenerator[str]:
        async with contextlib.aclosing(streams(name, 1)) as items:
            async for item in items:
                yield item
                await asyncio.Event().wait()

    async def consume() -> None:
        async with contextlib.aclosing(merge([waiting(name) for name in names], 3)) as merged:
            async for _ in merged:
                if parked:
                    await asyncio.Event().wait()

    task = asyncio.create_task(consume())
    await settle()
    assert streams.running
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not streams.running


async def test_no_streams() -> None:
    """Nothing merged is nothing."""
    streams: list[AsyncGenerator[str]] = []
    assert [item async for item in merge(streams, 3)] == []


async def test_never_iterated() -> None:
    """Streams that nobody asks for are not started."""
    streams = Streams()
    await merge([streams("a", 1), streams("b", 1)], 2).aclose()
    assert streams.started == []


async def test_failure_while_closing() -> None:
    """A stream that fails while it is closed does not hide why it was."""

    async def bad() -> AsyncGenerator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            raise KeyError("closing")

    async def failing() -> AsyncGenerator[str]:
        yield "b"
        await settle()
        raise ValueError("cause")

    with pytest.raises(ValueError, match="cause"):
        async for _ in merge([bad(), failing()], 2):
            pass


async def test_a_leaked_cancellation_is_a_failure() -> None:
    """A CancelledError that a stream raises by itself ends the whole instead of leaving the consumer waiting."""

    async def leaking() -> AsyncGenerator[str]:
        yield "a"
        raise asyncio.CancelledError

    async def other() -> AsyncGenerator[str]:
        yield "b"

    async def consume() -> None:
        async for _ in merge([leaking(), other()], 2):
            pass

    consuming = asyncio.create_task(consume())
    done, _ = await asyncio.wait({consuming}, timeout=5)
    consuming.cancel()

    assert done
    assert consuming.cancelled()
