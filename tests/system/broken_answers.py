"""Invalid responses of the upstream, and network faults."""

import asyncio
from typing import Any, cast

from tests.e2e.test_hostile_upstream import CASES
from tests.support.messages import request, text_input
from tests.support.upstreams import Visit
from tests.system.answers import HANGS, always, good
from tests.system.callers import Callers, closed_loop, names
from tests.system.experiment import Experiment, guarantee
from tests.system.proxy import CLEAN, Proxy, Toxics
from tests.system.server import growth
from tests.system.upstream import Ending, Script, Step, Upstream
from tests.system.verdict import Verdict

TIMEOUT, LATE_TIMEOUT = 10, 1  # seconds; that of calls which end with their deadline
Expected = tuple[str, str]

OK: Expected = ("", "OK")
LATE: Expected = ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
UNAVAILABLE: Expected = ("UPSTREAM_UNAVAILABLE", "UNAVAILABLE")
# Network faults of requests and of responses, and the expected outcome.
NETWORKS: dict[str, tuple[Toxics, Toxics, Expected]] = {
    "answer late": (CLEAN, Toxics(latency=0.1), OK),
    "answer slow": (CLEAN, Toxics(bandwidth=20_000), OK),
    "answer sliced": (CLEAN, Toxics(slices=7), OK),
    "answer cut": (CLEAN, Toxics(cut_after=500), UNAVAILABLE),
    "answer reset": (CLEAN, Toxics(reset_after=500), UNAVAILABLE),
    "answer lost": (CLEAN, Toxics(black_hole=True), LATE),
    "request sliced": (Toxics(slices=7), CLEAN, OK),
    "request cut": (Toxics(cut_after=100), CLEAN, UNAVAILABLE),
    "request reset": (Toxics(reset_after=100), CLEAN, UNAVAILABLE),
    "request lost": (Toxics(black_hole=True), CLEAN, LATE),
}


class _Recorder(Visit):
    """A visit without a connection that records the steps of a script as an answer."""

    def __init__(self) -> None:
        super().__init__("/embed", {}, b"", cast("Any", None), cast("Any", self), asyncio.Event())
        self.steps: list[Step] = []

    async def send(self, data: bytes) -> None:
        self.steps.append(data)

    async def pause(self, seconds: float) -> None:
        self.steps.append(seconds)

    async def gone(self) -> None:
        self.steps.append(Ending.HANG)

    def close(self) -> None:
        """Record the end of the connection, in place of a StreamWriter."""
        self.steps.append(Ending.CLOSE)


async def answers() -> dict[str, tuple[Script, Expected]]:
    """Return the table of the e2e tests, and answers that need delays."""
    found: dict[str, tuple[Script, Expected]] = {}
    for kind, (script, (reason, code)) in CASES.items():
        recorder = _Recorder()
        await script(recorder)
        found[kind] = (always(kind, *recorder.steps), (reason, code.name))
    found |= {f"hangs {kind}": (script, LATE) for kind, script in HANGS.items()}
    found["reset"] = (always("reset", Ending.RESET), UNAVAILABLE)
    return found


@guarantee("broken-answers")
async def each_has_its_reason(experiment: Experiment) -> Verdict:
    """Each kind of broken answer has its code and reason; connections are closed, the pool intact, memory is flat."""
    verdict, faults = Verdict(), set[str]()
    table = await answers()
    async with (
        experiment.upstream(good) as upstream,
        Proxy(upstream.port).running() as proxy,
        experiment.server(f"http://127.0.0.1:{proxy.port}", auth_allow_caller_api_keys=True) as server,
        Callers.connected(server.target) as callers,
    ):
        memory: list[int] = []
        rounds = experiment.scaled(20, 3)
        for round_ in range(rounds):
            for kind, (script, expected) in table.items():
                upstream.script = script
                faults |= await _fault(kind, round_, callers, expected)
                faults |= await _left_open(kind, upstream)
            upstream.script = good
            for kind, (proxy.up, proxy.down, expected) in NETWORKS.items():
                faults |= await _fault(kind, round_, callers, expected)
            proxy.up, proxy.down = CLEAN, CLEAN
            await closed_loop(names(20, f"good-{round_}"), 5, callers.embed)
            memory.append(server.memory())
        verdict.at_least("kinds", len(table) + len(NETWORKS), 30)
        verdict.exactly("wrong", "; ".join(sorted(faults)) or 0, 0)
        fine = sum(one.code == "OK" for one in callers.outcomes if one.name.startswith("good"))
        verdict.exactly(f"of {20 * rounds} calls in between OK", fine, 20 * rounds)
        verdict.at_most("MiB more memory", growth(memory), 4, "{:.1f}")
        verdict.at_most("sockets left", proxy.open, 5)
    return verdict


async def _fault(kind: str, round_: int, callers: Callers, expected: Expected) -> set[str]:
    """Make the call; return the difference from the expected outcome."""
    asked = request(text_input(kind), max_retries=0)
    # A rate limit applies to its credential: the next round uses another.
    key = (("x-upstream-api-key", f"{kind}-{round_}"),) if "RATE" in expected[0] else ()
    timeout = ("grpc-timeout", f"{LATE_TIMEOUT if expected == LATE else TIMEOUT}S")
    outcome = await callers.embed(asked, None, name=kind, metadata=(*key, timeout))
    got = ("" if outcome.code == "OK" else outcome.reason or outcome.code, outcome.code)
    is_short = len(outcome.message.encode()) <= 1024
    return set() if got == expected and outcome.is_answered_once and is_short else {f"{kind}: {got[0] or got[1]}"}


async def _left_open(kind: str, upstream: Upstream) -> set[str]:
    for _ in range(100):
        if not upstream.journal.unfinished():
            return set()
        await asyncio.sleep(0.01)
    return {f"{kind}: connection left open"}
