"""Release of admission capacity by refused, failed and cancelled calls."""

import asyncio
import random

import pytest

from embedwire_server.core.errors import GatewayError, Overloaded, Reason
from embedwire_server.core.models import Modality
from embedwire_server.core.results import ReplySummary, Segment, Stage
from embedwire_server.gateway.gateway import Gateway
from embedwire_server.testing import Attempt
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import an_input, gathered, sample, texts
from tests.support.virtual_time import in_virtual_time, now
from tests.unit.admission.support import AT_ONCE, HEAVY, Bench, answer_some_time, request


class Left(Exception):
    """The caller has cancelled."""


class Leaving:
    """A reply that raises at random when something is added, as if its caller had cancelled."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self.added = 0
        self._chance = chance

    async def add_segments(self, _: EmbedCall, __: int, ___: list[Segment]) -> None:
        self._add()

    async def add_progress(self, _: EmbedCall, __: Stage) -> None:
        """Accept a new stage."""

    async def add_result(self, _: EmbedCall, __: ReplySummary | None, ___: GatewayError | None) -> None:
        self._add()

    def _add(self) -> None:
        self.added += 1
        if self._chance is not None and self._chance.random() < 0.05:
            raise Left


async def test_refused_call_starts_nothing() -> None:
    """A refused call sends no upstream request and starts no input; once there is capacity it is admitted."""
    bench = Bench(in_flight=1, queued=0)
    bench.upstream.script = Attempt.succeed
    gateway, reply = Gateway(bench.admitted, bench.admission, bench.metrics, AT_ONCE), Leaving()
    wanted = request(("b", "1"), *texts(2))
    with bench.admission.admit(request(HEAVY, *texts(1)), AT_ONCE), pytest.raises(Overloaded) as caught:
        await gateway.embed(wanted, 1e9, reply)

    assert (len(bench.attempts), reply.added) == (0, 0)
    assert caught.value.reason is Reason.OVERLOADED
    assert "text" in caught.value.message
    labels = {"modality": "text", "model": "marengo3.0", "reason": "OVERLOADED"}
    assert sample(bench.metrics, "embedwire_inputs_total", **labels) == 0
    assert sample(bench.metrics, "embedwire_inputs_in_flight", modality="text") == 0
    await gateway.embed(wanted, 1e9, reply)
    assert (len(bench.attempts), reply.added) == (2, 4)


@pytest.mark.parametrize("seed", range(5))
@in_virtual_time
async def test_calls_that_end_at_random(seed: int) -> None:
    """Calls of many inputs that end at random release all capacity and all slots."""
    chance = random.Random(seed)
    bench = Bench(in_flight=3, queued=5, content_bytes=100)
    bench.upstream.script = lambda attempt: answer_some_time(attempt, chance)
    gateway = Gateway(bench.admitted, bench.admission, bench.metrics, 4)
    tasks: list[asyncio.Task[None]] = []
    for number in range(150):
        inputs = [an_input(chance.choice(["text", "audio"])) for _ in range(chance.randint(1, 9))]
        wanted = request((str(number % 3), "1"), *inputs, content_bytes=chance.randint(0, 50))
        tasks.append(asyncio.create_task(gateway.embed(wanted, now() + 1000, Leaving(chance))))
        if chance.random() < 0.5:
            chance.choice(tasks).cancel()
        await asyncio.sleep(chance.choice([0, 0, 0.1, 1, 3]))
    for ended in await gathered(tasks):
        assert ended is None or isinstance(ended, Left | GatewayError | asyncio.CancelledError)

    assert bench.is_released()
    assert sample(bench.metrics, "embedwire_buffered_bytes") == 0
    for modality in Modality:
        assert sample(bench.metrics, "embedwire_inputs_in_flight", modality=modality) == 0
