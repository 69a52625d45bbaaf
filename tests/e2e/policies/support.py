"""Helpers of the policy tests: upstream scripts, calls, and details of a rejection."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import failed, request, results, text_input
from tests.support.serving import Served
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

Script = Callable[[Visit], Awaitable[None]]
Step = Script | int
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def good(visit: Visit) -> dict[str, Any]:
    """The reply for the request."""
    modality = next(name for name in ("text", "image", "audio") if f'name="{name}'.encode() in visit.body)
    return reply(f"{modality}_embedding")


def says(body: bytes | dict[str, Any] = b"", status: int = 200, **headers: str) -> Script:
    async def script(visit: Visit) -> None:
        await visit.answer(body, status, **headers)

    return script


async def ok(visit: Visit) -> None:
    await visit.answer(good(visit))


class Steps:
    """Run these statuses and scripts in order, then succeed."""

    def __init__(self, *steps: Step) -> None:
        self.left = list(steps)
        self.times: list[float] = []

    async def __call__(self, visit: Visit) -> None:
        self.times.append(time.monotonic())
        step: Step = self.left.pop(0) if self.left else ok
        if step == 429:
            step = says(status=step, Retry_After="0.05")  # without a hint the hold would take a second
        script = says(status=step) if isinstance(step, int) else step
        await script(visit)


async def answered(served: Served, *inputs: pb.Input, seconds: float = 20, **more: Any) -> pb.InputResult:
    """Embed one input; its result."""
    asked = request(*(inputs or (text_input(),)), **more)
    events = [event async for event in served.stub.CreateEmbedding(asked, timeout=seconds)]
    return results(events)[0]


async def refused(served: Served, *inputs: pb.Input, seconds: float = 20, **more: Any) -> grpc.aio.AioRpcError:
    """Embed one input that fails; the error."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answered(served, *inputs, seconds=seconds, **more)
    return caught.value


def quota_of(error: grpc.aio.AioRpcError) -> tuple[list[str], float]:
    """The limits that a rejection names, and the delay of its RetryInfo."""
    status = status_pb2.Status.FromString(failed(error).trailers["grpc-status-details-bin"])
    retry, quota = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
    found = [detail.Unpack(message) for detail in status.details for message in (retry, quota)]
    assert any(found)
    return [violation.subject for violation in quota.violations], retry.retry_delay.ToTimedelta().total_seconds()


def check_journal(served: Served, upstream: ScriptedHttpServer) -> None:
    """Assert that the metrics count each request that the upstream received, and no other."""
    assert served.metric("embedwire_upstream_requests_total") == len(upstream.visits)
