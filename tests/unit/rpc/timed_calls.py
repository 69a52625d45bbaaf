"""Calls with a deadline, and writes that take some seconds."""

import asyncio
from typing import Any

from embedwire_server.rpc.call_context import Call
from embedwire_server.rpc.deadline import DefaultDeadlines
from embedwire_server.rpc.flow_control import MessageWriter

FOREVER = 1e6


def a_call(remaining: float | None = FOREVER, stall: float = FOREVER, text: float = 60, audio: float = 600) -> Call:
    return Call("id", "service", remaining, DefaultDeadlines(text, audio), stall, is_ours=True)


class Context:
    """A servicer context that takes some seconds for each message."""

    def __init__(self, seconds: float = FOREVER) -> None:
        self.seconds = seconds

    async def write(self, _: object) -> None:
        await asyncio.sleep(self.seconds)


def writer_of(call: Call, context: Context) -> MessageWriter:
    taken: Any = context

    async def complete(operation: Any) -> Any:
        return await operation

    return MessageWriter(taken, call, bytes, complete, complete)


async def sleeping(call: Call, seconds: float = FOREVER) -> None:
    """Sleep within the block of a call."""
    with call:
        await asyncio.sleep(seconds)


async def writing(call: Call, context: Context, start: float = 0, pause: float = 0) -> None:
    """Write messages in sequence within the block of a call, beginning at some time."""
    writer = writer_of(call, context)
    with call:
        await asyncio.sleep(start)
        while True:
            await writer.write(b"")
            await asyncio.sleep(pause)
