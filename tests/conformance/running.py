"""One case with one runner: setup, the job, and all comparisons."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

from embedwire.v1 import embedding_pb2 as pb
from tests.conformance import expectations
from tests.conformance.cases import Case, content, job
from tests.conformance.comparing import differences
from tests.conformance.fake import Fake, serving
from tests.conformance.runners import Runner, RunnerError
from tests.conformance.stage import Server, Stage, reserved_port
from tests.conformance.upstream import Play, received
from tests.support.messages import text_input
from tests.support.serving import until
from tests.support.upstreams import Visit

SECONDS = 20.0  # allowance of a runner in addition to the timeout of its call
LATE = 0.5  # seconds between the start of the job and of a late server
HELD = "held by the harness"


async def faults(case: Case, stage: Stage, runner: Runner) -> list[str]:
    """Run one case; return all differences as text."""
    async with contextlib.AsyncExitStack() as stack:
        target, server, fake = await _set_up(case, stage, stack)
        play = None
        if server is not None:
            play = Play(case.upstream, case.built_replies(), server.shut_down)
            server.upstream.visits.clear()
            server.upstream.script = play
            if case.holds:
                await stack.enter_async_context(_slot_occupied(server))
        found = await _outcome_faults(case, target, stage.folder, runner)
        if server is not None and play is not None:
            found += [fault async for fault in _upstream_faults(case, server, play)]
        if fake is not None:
            found += differences(case.expect.get("calls", [{"$any": True}]), fake.calls, "calls")
        for later in case.then:
            found += [f"then: {fault}" for fault in await _outcome_faults(later, target, stage.folder, runner)]
        return found


async def _set_up(case: Case, stage: Stage, stack: contextlib.AsyncExitStack) -> tuple[str, Server | None, Fake | None]:
    """Start the servers of the job; return its target."""
    target = case.job.get("target", "server")
    if target not in ("server", "late", "no-listener"):
        return target, None, None
    if target == "server" and case.fake is None:
        server = await stage.server(case.server, stack)
        return server.process.target, server, None
    fake = None if case.fake is None else Fake(case.fake)
    if target == "server" and fake is not None:
        return await stack.enter_async_context(serving(fake)), None, fake
    reserved = stack.enter_context(reserved_port())
    port = reserved.getsockname()[1]
    if fake is not None:
        starting = asyncio.create_task(_start_late(fake, port, reserved, stack))
        stack.callback(starting.cancel)
    return f"127.0.0.1:{port}", None, fake


async def _start_late(fake: Fake, port: int, reserved: Any, stack: contextlib.AsyncExitStack) -> None:
    await asyncio.sleep(LATE)  # the case tests the wait
    reserved.close()
    await stack.enter_async_context(serving(fake, port))


async def _outcome_faults(case: Case, target: str, folder: Path, runner: Runner) -> list[str]:
    made = job(case, target, folder)
    began = time.monotonic()
    try:
        outcome = await runner.outcome(made, SECONDS + (made["timeout"] or 0))
    except RunnerError as error:
        return [str(error)]
    took = time.monotonic() - began
    return [
        *expectations.faults(case, made, outcome),
        *differences(case.expect.get("seconds", {"$any": True}), took, "seconds"),
    ]


async def _upstream_faults(case: Case, server: Server, play: Play) -> AsyncGenerator[str]:
    """Return differences in the requests at the upstream and in the server's metrics."""
    visits = [visit for visit in server.upstream.visits if HELD.encode() not in visit.body]
    wanted = case.expect.get("requests", {"$any": True})
    for fault in differences(wanted, len(visits), "upstream requests"):
        yield fault
    if play.unexpected:
        yield f"{play.unexpected} upstream requests that no rule of the case is for"
    for fault in _received_faults(case.expect.get("received", ()), visits):
        yield fault
    if case.expect.get("is_left"):
        try:
            await until(lambda: all(visit.closed.is_set() for visit in play.unanswered), 5)
        except TimeoutError:
            yield "the upstream's connection was not closed"
    for name, value in case.expect.get("metrics", {}).items():
        for fault in differences(value, _metric(server.process.metrics(), name), name):
            yield fault


def _received_faults(wanted: Any, visits: list[Visit]) -> Iterator[str]:
    """Match each expected request with one that arrived; for others return the difference from the nearest."""
    for index, one in enumerate(wanted):
        parts = {"parts": {name: _whole(part) for name, part in one["parts"].items()}} if "parts" in one else {}
        arrived = [{"headers": visit.headers, "parts": received(visit)} for visit in visits]
        found = [list(differences({"$has": one | parts}, each, f"received[{index}]")) for each in arrived]
        yield from min(found, key=len, default=[f"received[{index}]: nothing arrived"])


def _whole(part: Any) -> Any:
    """Return an expected part; of a generated file, its length and hash."""
    if not isinstance(part, dict) or "bytes" not in part:
        return part
    names = {name: value for name, value in part.items() if name not in ("bytes", "seed")}
    data = content(part["bytes"], part.get("seed", 1))
    return {"media_type": {"$any": True}, "length": len(data), "sha256": hashlib.sha256(data).hexdigest()} | names


def _metric(page: str, name: str) -> float:
    samples = [line.rpartition(" ") for line in page.splitlines() if line.startswith(name)]
    return sum(float(value) for _, _, value in samples)


@contextlib.asynccontextmanager
async def _slot_occupied(server: Server) -> AsyncGenerator[None]:
    """Occupy a slot of the server with a text whose reply does not come during the case."""
    script = server.upstream.script

    async def delay(visit: Visit) -> None:
        await (visit.gone() if HELD.encode() in visit.body else script(visit))

    server.upstream.script = delay
    request = pb.CreateEmbeddingRequest(model_name="marengo3.0", inputs=[text_input(HELD)])
    call = server.process.stub.CreateEmbedding(request, timeout=60)
    await until(lambda: bool(server.upstream.visits))
    try:
        yield
    finally:
        call.cancel()
        server.upstream.script = script
