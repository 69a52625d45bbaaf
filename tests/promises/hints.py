"""What the upstream says of its rate limits in a 429."""

import asyncio
import dataclasses
import email.utils
import math
import time
from collections.abc import Coroutine
from typing import Any

from messages import request, url_input

from promises.answers import good, refusal
from promises.callers import Callers, Outcome
from promises.stage import Stage, promise
from promises.upstream import Answer, Asked, Script, Upstream
from promises.verdict import Verdict

WAIT = 2.0
DEADLINE, HURRIED = 12.0, 0.6
EARLIEST, LATEST = 0.99, 1.2  # of the wait that was asked for


@dataclasses.dataclass(frozen=True, slots=True)
class Hint:
    """A 429 and the wait that it asks for: none that can be read is None, one that nobody can wait for infinity."""

    answer: Answer
    wait: float | None
    given: float = dataclasses.field(default_factory=time.monotonic)


def hints() -> dict[str, Hint]:
    """Every kind of hint, as it is given now."""
    now = time.time()
    whole = math.ceil(now + WAIT)  # dates and epochs know no fractions
    date, epoch = email.utils.formatdate(whole, usegmt=True), f"X-RateLimit-Request-Reset: {whole}"
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
    }


def once_each(given: dict[str, Hint]) -> Script:
    """Refuse the first text of each credential with the hint that the credential is called after."""

    def script(asked: Asked) -> Answer:
        kind = asked.line.input.partition(" ")[0]
        if kind in given or kind not in hints():
            return good(asked)
        given[kind] = hints()[kind]
        return given[kind].answer

    return script


@promise("rate-limit-hints", patient=True)
async def hints_are_kept(stage: Stage) -> Verdict:
    """The wait that a 429 asks for is kept by every call of that credential and modality, or the call fails at once."""
    given: dict[str, Hint] = {}
    async with stage.playing(once_each(given), accept_upstream_keys=True) as (upstream, _, callers):
        faults = await asyncio.gather(*(_Episode(kind, upstream, callers).fault(given) for kind in hints()))
    wrong = [fault for fault in faults if fault]
    verdict = Verdict()
    verdict.exactly(f"of {len(faults)} kinds kept {'; '.join(wrong)}".strip(), len(faults) - len(wrong), len(faults))
    return verdict


class _Episode:
    """The calls with one credential: a first one, which is refused, others while that lasts, one in a hurry."""

    def __init__(self, kind: str, upstream: Upstream, callers: Callers) -> None:
        self._kind = kind
        self._journal = upstream.journal
        self._callers = callers
        self._key = (("x-upstream-api-key", kind),)

    async def fault(self, given: dict[str, Hint]) -> str:
        """What went wrong, if anything did."""
        first = asyncio.create_task(self._embed("first"))
        await self._journal.arrival(f"{self._kind} first")
        await asyncio.sleep(0.2)
        asked = request(url_input("image", f"http://media.test/{self._kind}"))
        image = await self._callers.embed(asked, 5, metadata=self._key)
        later = asyncio.create_task(self._embed("later"))
        hurried = await self._embed("hurried", HURRIED)
        patient = [await first, await later]
        fault = self._fault_of(given[self._kind], patient, hurried) if image.code == "OK" else "held another modality"
        return f"{self._kind}: {fault}" if fault else ""

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
