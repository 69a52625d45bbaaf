"""Rate limit hints of the upstream in a 429, and the number of requests that it has to refuse."""

import asyncio
import dataclasses
import datetime as dt
import email.utils
import itertools
import math
import time
from collections.abc import Coroutine, Iterator
from typing import Any

from tests.support.messages import request, url_input
from tests.system.answers import good, refusal
from tests.system.callers import Callers, Outcome
from tests.system.experiment import Experiment, guarantee
from tests.system.server import Server
from tests.system.upstream import Answer, Asked, Script, Upstream
from tests.system.verdict import Verdict

WAIT, DAY = 4.0, 86_400
DEADLINE, HURRIED = 16.0, 2.0
EARLIEST, LATEST = 0.99, 1.2  # of the wait that was asked for


@dataclasses.dataclass(frozen=True, slots=True)
class Hint:
    """A 429 and the delay that it asks for: None without a valid hint, infinity if it is longer than any deadline."""

    answer: Answer
    wait: float | None
    given: float = dataclasses.field(default_factory=time.monotonic)


def hints() -> dict[str, Hint]:
    """Return every kind of hint, relative to the current time."""
    now = time.time()
    whole = math.ceil(now + WAIT)  # dates and epochs have no fractions
    date, epoch = email.utils.formatdate(whole, usegmt=True), f"X-RateLimit-Request-Reset: {whole}"
    iso = dt.datetime.fromtimestamp(whole, dt.UTC).isoformat()
    other = email.utils.formatdate(whole - DAY, usegmt=True)  # by a clock that is a day late
    details = {"code": "RATE_LIMIT_EXCEEDED", "details": {"retryAfter": f"{WAIT:g}"}}
    return {
        "seconds": Hint(refusal(429, f"Retry-After: {WAIT:g}", code="too_many_requests"), WAIT),
        "date": Hint(refusal(429, f"Retry-After: {date}", code="too_many_requests"), whole - now),
        "nonsense": Hint(refusal(429, "Retry-After: soon", code="too_many_requests"), None),
        "million": Hint(refusal(429, "Retry-After: 1000000", code="too_many_requests"), math.inf),
        "empty-body": Hint(refusal(429, f"Retry-After: {WAIT:g}"), WAIT),
        "reset-headers": Hint(refusal(429, "X-RateLimit-Request-Remaining: 0", epoch), whole - now),
        "details": Hint(refusal(429, error=details), WAIT),
        "nothing": Hint(refusal(429), None),
        "twice": Hint(refusal(429, *[f"Retry-After: {WAIT:g}"] * 2), WAIT),
        "milliseconds": Hint(refusal(429, f"X-RateLimit-Reset: {whole * 10**3}"), whole - now),
        "nanoseconds": Hint(refusal(429, f"Retry-After: {whole * 10**9}"), whole - now),
        "iso": Hint(refusal(429, f"RateLimit-Reset: {iso}"), whole - now),
        "duration": Hint(refusal(429, f"Retry-After: {WAIT:g}s"), WAIT),
        "wrong-clock": Hint(
            refusal(429, f"Date: {email.utils.formatdate(whole - WAIT - DAY, usegmt=True)}", f"Retry-After: {other}"),
            WAIT,
        ),
    }


def once_each(given: dict[str, Hint]) -> Script:
    """Refuse the first text of each credential with the hint named by the credential."""

    def script(asked: Asked) -> Answer:
        kind = asked.line.input.partition(" ")[0]
        if kind in given or kind not in hints():
            return good(asked)
        given[kind] = hints()[kind]
        return given[kind].answer

    return script


@guarantee("rate-limit-hints")
async def hints_are_kept(experiment: Experiment) -> Verdict:
    """Every call of a credential and modality waits as long as its 429 asks for, or fails immediately."""
    given: dict[str, Hint] = {}
    async with experiment.environment(once_each(given), auth_allow_caller_api_keys=True) as (upstream, server, callers):
        faults = await asyncio.gather(*(_Episode(kind, upstream, server, callers).fault(given) for kind in hints()))
    wrong = [fault for fault in faults if fault]
    verdict = Verdict()
    verdict.exactly(f"of {len(faults)} kinds kept {'; '.join(wrong)}".strip(), len(faults) - len(wrong), len(faults))
    return verdict


class _Episode:
    """The calls with one credential: a refused first one, concurrent ones, and one with a short deadline."""

    def __init__(self, kind: str, upstream: Upstream, server: Server, callers: Callers) -> None:
        self._kind = kind
        self._server = server
        self._journal = upstream.journal
        self._callers = callers
        self._key = (("x-upstream-api-key", kind),)

    async def fault(self, given: dict[str, Hint]) -> str:
        """Return the fault, if there is one."""
        first = asyncio.create_task(self._embed("first"))
        await self._journal.arrival(f"{self._kind} first")
        await self._held()
        asked = request(url_input("image", f"http://media.test/{self._kind}"))
        image = await self._callers.embed(asked, 5, metadata=self._key)
        later = asyncio.create_task(self._embed("later"))
        hurried = await self._embed("hurried", HURRIED)
        patient = [await first, await later]
        fault = self._fault_of(given[self._kind], patient, hurried) if image.code == "OK" else "held another modality"
        return f"{self._kind}: {fault}" if fault else ""

    async def _held(self) -> None:
        """Wait until the server has processed every 429 of the upstream."""
        while True:
            given = sum(line.answer == "429" for line in self._journal.lines)
            if (await self._server.sums("embedwire_rate_limit_backoffs_total")).total() >= given:
                return
            await asyncio.sleep(0.02)

    def _embed(self, name: str, timeout: float = DEADLINE) -> Coroutine[Any, Any, Outcome]:
        return self._callers.embed(f"{self._kind} {name}", timeout, metadata=self._key)

    def _fault_of(self, hint: Hint, patient: list[Outcome], hurried: Outcome) -> str:
        refused = [*patient, hurried] if hint.wait == math.inf else [hurried] if hint.wait else []
        late = [one for one in refused if not _is_refused_at_once(one)]
        if late:
            return f"not refused at once but {late[0].code} {late[0].reason} after {late[0].seconds:.3f} s"
        if hint.wait == math.inf:
            sent = [line for name in ("first", "later", "hurried") for line in self._journal.of(f"{self._kind} {name}")]
            return f"{len(sent)} requests" if len(sent) > 1 else ""
        if any(one.code != "OK" for one in patient):
            return f"got {[one.code for one in patient]}"
        if hint.wait is None:
            return ""
        again = [self._journal.of(f"{self._kind} first")[-1], *self._journal.of(f"{self._kind} later")]
        shares = [(line.at - hint.given) / hint.wait for line in again]
        is_kept = all(EARLIEST <= share <= LATEST for share in shares)
        return "" if is_kept else f"waited for {', '.join(f'{share:.0%}' for share in shares)} of it"


def _is_refused_at_once(outcome: Outcome) -> bool:
    return outcome.code == "RESOURCE_EXHAUSTED" and outcome.retry_after is not None and outcome.seconds < HURRIED - 0.1


@guarantee("rate-limit-storm", patient=True)
async def an_upstream_that_always_refuses(experiment: Experiment) -> Verdict:
    """An upstream that answers 429 with a useless hint gets few requests from any number of callers."""
    seconds, at_once = experiment.scaled(30.0, 6.0), 64
    stages = len(USELESS) + 1
    limits = {"concurrency_inputs_per_modality": stages * at_once, "concurrency_queue_per_modality": stages * at_once}
    is_over = False

    def script(asked: Asked) -> Answer:
        return good(asked) if is_over else USELESS.get(asked.line.input.partition(" ")[0], USELESS["zero"])

    async with experiment.environment(script, auth_allow_caller_api_keys=True, **limits) as (upstream, _, callers):
        end = time.monotonic() + seconds
        numbers = itertools.count()
        storms = [_persistent(callers, kind, end, itertools.repeat(kind)) for kind in USELESS for _ in range(at_once)]
        invented = (f"key-{number}" for number in numbers)
        storms += [_persistent(callers, "invented", end, invented) for _ in range(at_once)]
        storm = asyncio.gather(*storms)
        await asyncio.sleep(end - time.monotonic())
        is_over, sent = True, [line.input.partition(" ")[0] for line in upstream.journal.lines]
        fresh = await callers.embed("fresh", 90, metadata=(("x-upstream-api-key", "zero"),))
        await storm
        verdict = Verdict()
        for kind in USELESS:  # the first of each caller, another one after the hint, then single ones
            verdict.at_most(f"requests, {kind}", sent.count(kind), 2 * at_once + 2 * seconds)
        verdict.at_most("requests, invented keys", sent.count("invented"), 2 * at_once + 34 * seconds)
        verdict.exactly("for one after the storm", fresh.code, "OK")
        verdict.at_most("s until it is answered", fresh.seconds, 1.2 * seconds + 2, "{:.2f}")
    return verdict


USELESS = {
    "zero": refusal(429, "Retry-After: 0"),
    "none": refusal(429),
    "past": refusal(429, "X-RateLimit-Reset: 1700000000"),
    "remaining": refusal(429, "X-RateLimit-Remaining: 7"),
    "instant": refusal(429, "Retry-After: 1ms"),
}


async def _persistent(callers: Callers, kind: str, end: float, keys: Iterator[str]) -> None:
    """Run a caller that calls again immediately after each refusal."""
    while time.monotonic() < end:
        await callers.embed(f"{kind} storm", 90, metadata=(("x-upstream-api-key", next(keys)),))
