"""Files of inputs: closed before the result is sent."""

import asyncio
import dataclasses

import pytest
from structlog.testing import capture_logs

from embedwire_server.core.errors import GatewayError, Overloaded
from embedwire_server.core.inputs import FileSource, ImageInput
from embedwire_server.core.results import ReplySummary
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.testing import Script
from embedwire_server.upstreams.base import EmbedCall
from tests.unit.gateway.support import Bench, File, Recorder, bad, good, image, text


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(good(), "OK", id="answered"),
        pytest.param(bad(Overloaded("full")), "OVERLOADED", id="failed"),
        pytest.param(bad(ValueError()), "INTERNAL", id="log_unexpected"),
        pytest.param(bad(asyncio.CancelledError()), "INTERNAL", id="leaked cancellation"),
    ],
)
async def test_file_is_closed(script: Script, reason: str) -> None:
    """The file of an input is closed before its result is added, whether it succeeds or fails."""
    file = File()
    closed: dict[str, int] = {}

    @dataclasses.dataclass
    class Looking(Recorder):
        async def add_result(self, call: EmbedCall, summary: ReplySummary | None, failure: GatewayError | None) -> None:
            closed[call.input.key] = file.closed
            await super().add_result(call, summary, failure)

    bench = Bench(a=script, b=good())
    with capture_logs():
        await bench.embed(image("a", file), text("b"), reply=Looking())
    assert closed["a"] == 1
    assert file.closed == 1
    assert bench.inputs(reason, "image") == 1


async def test_bad_file() -> None:
    """A file with a fault fails its input before an upstream request is sent."""
    bench, file = Bench(a=good(), b=good()), File(Overloaded("full"))
    found = (await bench.embed(image("a", file), text("b"))).results
    assert found["a"].failure is file.fault
    assert found["a"].call.attempts == 0
    assert bench.begun() == ["b"]
    assert file.closed == 1


async def test_memory_file() -> None:
    """Inline content needs no close."""
    item = ImageInput("a", FileSource(InMemoryContent(b"x"), "a.png", "image/png"))
    assert (await Bench(a=good()).embed(item)).results["a"].failure is None
