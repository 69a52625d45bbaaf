"""Callers that repeat their calls while a server drains, and what the calls ended with."""

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.support.messages import text_input
from tests.support.serving import until

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])


def stub_of(channel: grpc.aio.Channel) -> Any:
    return embedding_pb2_grpc.EmbeddingServiceStub(channel)


class Load:
    """Callers that repeat their call as soon as it is answered; the status codes of all calls.

    Attributes:
        longest_pause: seconds for which the event loop of the callers did not run.
    """

    def __init__(self, callers: Sequence[Callable[[], Awaitable[grpc.StatusCode]]]) -> None:
        self.codes: collections.Counter[grpc.StatusCode] = collections.Counter()
        self._callers = callers
        self._is_over = False
        self.longest_pause = 0.0

    @classmethod
    def of_texts(cls, channel: grpc.aio.Channel, callers: int, **options: Any) -> "Load":
        return cls([lambda: stub_of(channel).CreateEmbeddingUnary(TEXT, **options).code()] * callers)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator["Load"]:
        callers = [asyncio.create_task(self._call_on(call)) for call in self._callers]
        callers.append(asyncio.create_task(self._measure()))
        try:
            await until(lambda: self.codes[OK] > 2 * len(self._callers))
            yield self
        finally:
            self._is_over = True
            await asyncio.gather(*callers)

    async def _call_on(self, call: Callable[[], Awaitable[grpc.StatusCode]]) -> None:
        while not self._is_over:
            self.codes[code := await call()] += 1
            if code is not OK:
                await asyncio.sleep(0.01)

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._is_over:
            start = loop.time()
            await asyncio.sleep(0.01)
            self.longest_pause = max(self.longest_pause, loop.time() - start)


async def ends_with(codes: set[grpc.StatusCode], scenario: Callable[[], Awaitable[Load]]) -> bool:
    """Whether the calls end with these codes.

    A scenario is repeated if its callers got no CPU for a part of the 150 ms for which a drain waits for further calls:
    the server has no information about calls that were not sent.
    """
    for _ in range(5):
        load = await scenario()
        if set(load.codes) == codes:
            return True
        if load.longest_pause < 0.05:
            return False
    return False
