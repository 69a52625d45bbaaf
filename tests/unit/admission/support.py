"""Helpers of the tests of admission."""

import asyncio
import contextlib
import random

from embedwire_server.admission.load_shedding import LoadShedder
from embedwire_server.core.errors import Overloaded
from embedwire_server.core.inputs import Caller, EmbedRequest, Input
from embedwire_server.core.models import MARENGO_30, Modality
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.concurrency_limit import ConcurrencyLimiter, ConcurrencyLimitPolicy
from embedwire_server.testing import Attempt, ScriptedUpstream
from tests.support.embed_calls import call, sample, texts, undecided

HEAVY: Caller = ("heavy", "1")
AT_ONCE = 16


class Bench:
    """Load shedding and concurrency limits around an upstream whose replies the test sets."""

    def __init__(self, in_flight: int = 64, queued: int = 256, content_bytes: int = 1000) -> None:
        self.metrics = Metrics("fake")
        self.admission = LoadShedder(self.metrics, in_flight=in_flight, queued=queued, content_bytes=content_bytes)
        self.upstream = ScriptedUpstream(undecided)
        self.limiter = ConcurrencyLimiter(self.metrics, in_flight)
        self.admitted = ConcurrencyLimitPolicy(self.upstream, self.limiter, self.metrics)
        self.held = contextlib.ExitStack()
        self.delays: list[float | None] = []

    @property
    def attempts(self) -> list[Attempt]:
        return self.upstream.attempts

    def admits(self, caller: Caller, *inputs: Input, content_bytes: int = 0) -> bool:
        """Admit a call until the test ends, unless it is shed; whether it was admitted."""
        try:
            self.held.enter_context(
                self.admission.admit(request(caller, *inputs, content_bytes=content_bytes), AT_ONCE)
            )
        except Overloaded as refusal:
            self.delays.append(refusal.retry_delay)
            return False
        return True

    def fill(self, caller: Caller, *inputs: Input) -> int:
        """Admit calls until one is shed; return their number."""
        count = 0
        while self.admits(caller, *(inputs or texts(1))):
            count += 1
        return count

    def is_idle(self) -> bool:
        """Whether all slots of the server's own credential are free."""
        return all(self.limiter.slots(call(modality)).is_idle for modality in Modality)

    def is_released(self) -> bool:
        """Whether all capacity, slots and content memory are free."""
        return self.admission.is_idle and self.is_idle()

    def refusals(self, room: str) -> float:
        return sample(self.metrics, "embedwire_requests_shed_total", resource=room)

    def queued(self, modality: str = "text") -> float:
        return sample(self.metrics, "embedwire_concurrency_queue_length", modality=modality)


def request(caller: Caller, *inputs: Input, content_bytes: int = 0) -> EmbedRequest:
    return EmbedRequest(MARENGO_30, inputs, caller=caller, content_bytes=content_bytes)


def answer_some_time(attempt: Attempt, chance: random.Random) -> None:
    def answer() -> None:
        if not attempt.answer.done():
            attempt.succeed() if chance.random() < 0.8 else attempt.fail(ValueError())

    asyncio.get_running_loop().call_later(chance.choice([0, 0, 0.1, 1]), answer)
