"""Request coalescing with random callers, which join and leave while flights succeed and fail."""

import asyncio
import dataclasses
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedwire_server.core.errors import DeadlineExceeded, GatewayError, RateLimited, Reason, UpstreamFailure
from embedwire_server.core.inputs import TextInput
from embedwire_server.core.results import ReplySummary
from embedwire_server.policies.coalescing import CoalescingPolicy
from embedwire_server.testing import Attempt, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import KEYS, SEGMENT, Embedded, call, gathered, start, undecided
from tests.support.virtual_time import VirtualLoop

TEXTS = ("a", "b")
ENDINGS = ("success", "rejected", "limited", "expired")

Event = tuple[str, int]
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("join a", "join b")), st.integers(1, 60)),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.sampled_from(ENDINGS), st.integers(0, 3)),
        st.tuples(st.just("turn"), st.integers(1, 4)),
    ),
    max_size=40,
)


@dataclasses.dataclass
class _Caller:
    """One caller, with what it may get: a result of an attempt that was not over when it joined."""

    call: EmbedCall
    task: asyncio.Task[Embedded]
    over: frozenset[str]
    has_left: bool = False


class _Run:
    """Applies events to a policy."""

    def __init__(self) -> None:
        self.scripted = ScriptedUpstream(undecided)
        self.policy = CoalescingPolicy(self.scripted, KEYS)
        self.callers: list[_Caller] = []
        self.over: set[str] = set()  # attempts, by their number

    async def apply(self, event: Event) -> None:
        what, number = event
        if what == "turn":
            for _ in range(number):
                await asyncio.sleep(0)
        elif what.startswith("join"):
            joining = call(item=TextInput("", what[-1]), deadline=float(number))
            self.callers.append(_Caller(joining, start(self.policy, joining)[0], frozenset(self.over)))
        elif what == "leave":
            self._leave(number)
        else:
            self._end(what, number)

    def _leave(self, number: int) -> None:
        if self.callers:
            caller = self.callers[number % len(self.callers)]
            caller.has_left = caller.task.cancel() or caller.has_left

    def _end(self, how: str, number: int) -> None:
        """End one of the attempts that wait; what it ends with names it."""
        waiting = [name for name, attempt in self._named().items() if not attempt.answer.done()]
        if waiting:
            name = waiting[number % len(waiting)]
            _finish(self._named()[name], how, name)
            self.over.add(name)

    def _named(self) -> dict[str, Attempt]:
        return {str(number): attempt for number, attempt in enumerate(self.scripted.attempts)}

    async def finish(self) -> list[Any]:
        """Let all attempts succeed until every caller has its outcome."""
        while not all(caller.task.done() for caller in self.callers):
            self._end("success", 0)
            await asyncio.sleep(0)
        return await gathered([caller.task for caller in self.callers])

    def check(self, caller: _Caller, outcome: Any) -> None:
        if isinstance(outcome, asyncio.CancelledError):
            assert caller.has_left
            return
        name = outcome.message if isinstance(outcome, GatewayError) else outcome.summary.model_name
        attempt = self._named()[name]
        assert attempt.call.input == caller.call.input
        assert name not in caller.over
        if isinstance(outcome, RateLimited):
            assert caller.call.deadline <= max(30, attempt.call.deadline)


def _finish(attempt: Attempt, how: str, name: str) -> None:
    if how == "success":
        attempt.succeed([dataclasses.replace(SEGMENT)], summary=ReplySummary(name))
    elif how == "rejected":
        attempt.fail(UpstreamFailure(Reason.INPUT_REJECTED, name))
    else:
        failure = RateLimited(name, retry_delay=30.0) if how == "limited" else DeadlineExceeded()
        failure.message = name
        attempt.fail(failure)


@settings(max_examples=200)
@given(EVENTS)
@example([("join a", 1), ("turn", 1), ("leave", 0), ("turn", 1), ("leave", 0)])  # cancelled again while it leaves
def test_any_order_of_events(events: list[Event]) -> None:
    """Each caller that stays gets the outcome of an attempt for its text, and nothing is left in the end."""

    async def scenario() -> None:
        run = _Run()
        for event in events:
            await run.apply(event)
            assert len(run.policy._flights) <= len(TEXTS)
        for caller, outcome in zip(run.callers, await run.finish(), strict=True):
            run.check(caller, outcome)
        assert sum(one.call.attempts for one in run.callers) == len(run.scripted.attempts)
        await asyncio.sleep(0)
        assert run.scripted.running == 0
        assert not run.policy._flights
        assert not run.policy._tasks

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())
