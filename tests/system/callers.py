"""Callers, which record exactly one outcome for each call."""

import asyncio
import contextlib
import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.support.messages import request, text_input

Metadata = tuple[tuple[str, str], ...]


@dataclasses.dataclass(slots=True)
class Outcome:
    """The outcome of one call. `results` counts the results of its input, `left` is set if the caller gave up."""

    name: str
    began: float
    code: str = "OK"
    reason: str = ""
    message: str = ""
    ended: float = 0.0
    segments: int = 0
    results: int = 0
    left: bool = False
    retry_after: float | None = None
    trailers: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def is_answered_once(self) -> bool:
        return self.results == (1 if self.code == "OK" else 0)


class Callers:
    """Channels to one target, each a separate caller, and the outcomes of all their calls."""

    def __init__(self, channels: list[grpc.aio.Channel]) -> None:
        self.channels = channels
        self.outcomes: list[Outcome] = []
        stubs: list[Any] = [embedding_pb2_grpc.EmbeddingServiceStub(channel) for channel in channels]
        self._stubs = itertools.cycle(stubs)

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(
        cls, target: str, count: int = 4, *options: tuple[str, Any], credentials: grpc.ChannelCredentials | None = None
    ) -> AsyncGenerator["Callers"]:
        chosen = (("grpc.use_local_subchannel_pool", 1), *options)

        def channel() -> grpc.aio.Channel:
            if credentials is None:
                return grpc.aio.insecure_channel(target, chosen)
            return grpc.aio.secure_channel(target, credentials, chosen)

        async with contextlib.AsyncExitStack() as stack:
            yield cls([await stack.enter_async_context(channel()) for _ in range(count)])

    @property
    def codes(self) -> Counter[str]:
        """Return the codes of the calls that were not abandoned."""
        return Counter(outcome.code for outcome in self.outcomes if not outcome.left)

    @property
    def left(self) -> int:
        return sum(outcome.left for outcome in self.outcomes)

    async def embed(
        self,
        asked: str | pb.CreateEmbeddingRequest,
        timeout: float | None = 60,  # noqa: ASYNC109 - the deadline of the call
        *,
        name: str = "",
        cancel_after: float | None = None,
        metadata: Metadata = (),
        **options: Any,
    ) -> Outcome:
        """Make one call; a text is a complete request."""
        if isinstance(asked, str):
            name = asked
            asked = request(text_input(asked), vector_encoding=pb.VECTOR_ENCODING_FLOAT32_LE)
        call = next(self._stubs).CreateEmbedding(asked, timeout=timeout, metadata=metadata, **options)
        return await self._outcome(call, name, cancel_after)

    async def upload(self, messages: AsyncIterable[Any], timeout: float, *, name: str) -> Outcome:  # noqa: ASYNC109
        """Make one call that uploads files."""
        return await self._outcome(next(self._stubs).CreateEmbeddingFromUpload(messages, timeout=timeout), name)

    async def _outcome(self, call: Any, name: str, cancel_after: float | None = None) -> Outcome:
        outcome = Outcome(name, time.monotonic())
        timer = asyncio.get_running_loop().call_later(cancel_after, call.cancel) if cancel_after is not None else None
        try:
            async for event in call:
                for each in event.events:
                    outcome.segments += each.HasField("segment")
                    outcome.results += each.HasField("result")
                    if each.result.HasField("failure"):
                        outcome.message += str(each.result.failure)
        except grpc.aio.AioRpcError as error:
            explain(outcome, error)
        except asyncio.CancelledError:
            outcome.code = "CANCELLED"
            if asyncio.current_task().cancelling():  # type: ignore[union-attr] # it runs
                raise
        finally:
            if timer is not None:
                timer.cancel()
            outcome.ended = time.monotonic()
            outcome.left = outcome.code == "CANCELLED" or (outcome.code == "DEADLINE_EXCEEDED" and not outcome.reason)
            self.outcomes.append(outcome)
        return outcome


def explain(outcome: Outcome, error: grpc.aio.AioRpcError) -> None:
    outcome.code, outcome.message = error.code().name, error.details() or ""
    outcome.trailers = dict(error.trailing_metadata())
    info, wait = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status_pb2.Status.FromString(outcome.trailers.get("grpc-status-details-bin", b"")).details:
        detail.Unpack(info)
        if detail.Unpack(wait):
            outcome.retry_after = wait.retry_delay.ToMicroseconds() / 1e6
    outcome.reason = info.reason


async def closed_loop(names: Iterable[str], at_once: int, call: Callable[[str], Awaitable[object]]) -> None:
    """Run this many callers, each of which calls again after each reply."""
    left = iter(names)

    async def caller() -> None:
        for name in left:
            await call(name)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(caller())


async def open_loop(names: Iterable[str], rate: float, call: Callable[[str], Awaitable[object]]) -> None:
    """Start this many calls a second, independently of the replies; return when all have ended."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for index, name in enumerate(names):
            await asyncio.sleep(began + index / rate - time.monotonic())
            group.create_task(_ignored(call(name)))


async def _ignored(call: Awaitable[object]) -> None:
    await call


def names(count: int, kind: str = "call") -> Iterator[str]:
    return (f"{kind}-{index:06}" for index in range(count))


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
