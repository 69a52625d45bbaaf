"""How much is taken on at once, of whom, and who is told to come back."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from embedwire_server.admission.load_shedding import LoadShedder
from embedwire_server.core.errors import DeadlineExceeded, GatewayError, Overloaded, Reason
from embedwire_server.core.inputs import Caller, EmbedRequest, Input
from embedwire_server.core.models import MARENGO_30, Modality
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.gateway.gateway import Gateway
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.concurrency_limit import ConcurrencyLimiter, ConcurrencyLimitPolicy
from embedwire_server.policies.rate_limit.policy import RateLimiters, RateLimitPolicy
from embedwire_server.testing import Attempt, ScriptedUpstream
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import SEGMENT, an_input, call, gathered, limited, sample, start, texts, undecided
from tests.support.virtual_time import in_virtual_time, now, settled

HEAVY: Caller = ("heavy", "1")
AT_ONCE = 16


class Bench:
    """Admission around an upstream whose answers the test gives."""

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

    def takes_on(self, caller: Caller, *inputs: Input, content_bytes: int = 0) -> bool:
        """Try to hold the room for a call until the test ends."""
        try:
            self.held.enter_context(
                self.admission.admit(request(caller, *inputs, content_bytes=content_bytes), AT_ONCE)
            )
        except Overloaded as refusal:
            self.delays.append(refusal.retry_delay)
            return False
        return True

    def fill(self, caller: Caller, *inputs: Input) -> int:
        """Take on as many calls as there are taken on; how many."""
        count = 0
        while self.takes_on(caller, *(inputs or texts(1))):
            count += 1
        return count

    def is_idle(self) -> bool:
        """Whether all places of the server's own credential are free."""
        return all(self.limiter.slots(call(modality)).is_idle for modality in Modality)

    def holds_nothing(self) -> bool:
        """Whether all room is given back, at the door as well."""
        shares = [room.share for room in self.admission._rooms.values()]
        is_held = any(share.taken or share._by_host or share._by_connection for share in shares)
        return not is_held and self.is_idle() and not self.admission.content_memory.taken

    def refusals(self, room: str) -> float:
        return sample(self.metrics, "embedwire_requests_shed_total", resource=room)

    def queued(self, modality: str = "text") -> float:
        return sample(self.metrics, "embedwire_concurrency_queue_length", modality=modality)


def request(caller: Caller, *inputs: Input, content_bytes: int = 0) -> EmbedRequest:
    return EmbedRequest(MARENGO_30, inputs, caller=caller, content_bytes=content_bytes)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Admission with the default numbers of places; in the end all of it is given back."""
    made = Bench()
    yield made
    made.held.close()
    assert all(delay is not None and 0 < delay <= 60 for delay in made.delays)
    assert made.holds_nothing()
    assert sample(made.metrics, "embedwire_buffered_bytes") == 0


# --- at the door ---


@pytest.mark.parametrize("count", [1, 3, 16])
def test_a_lone_caller_leaves_room(bench: Bench, count: int) -> None:
    """One caller may fill most of the places, and a newcomer still gets in, and one after it."""
    filled = count * bench.fill(HEAVY, *texts(count))

    assert 200 <= filled <= 290
    assert bench.takes_on(("b", "1"), *texts(count))
    assert bench.takes_on(("c", "1"), *texts(1))
    assert not bench.takes_on(HEAVY, *texts(count))


def test_a_second_connection_of_a_host_gets_in(bench: Bench) -> None:
    """Behind one proxy all callers have one host: a connection that fills what it may leaves room for the next."""
    bench.fill(("proxy", "1"))

    assert bench.takes_on(("proxy", "2"), *texts(16))
    assert not bench.takes_on(("proxy", "1"), *texts(1))


def test_connections_do_not_help(bench: Bench) -> None:
    """A host that opens ever more connections holds no more than any other host may."""
    filled = 0
    for number in range(100):
        filled += bench.fill(("heavy", str(number)))

    assert filled <= 290
    assert bench.takes_on(("b", "1"), *texts(16))


def test_turnover_makes_it_even(bench: Bench) -> None:
    """Once calls end, the newcomer's grow and the heavy one's shrink until both hold about the same."""
    chance = random.Random(1)
    calls: dict[str, list[contextlib.ExitStack]] = {"heavy": [], "b": []}

    def ask(host: str) -> None:
        stack = contextlib.ExitStack()
        with contextlib.suppress(Overloaded):
            stack.enter_context(bench.admission.admit(request((host, "1"), *texts(1)), AT_ONCE))
            calls[host].append(stack)

    for _ in range(400):
        ask("heavy")
    for _ in range(2000):
        host = chance.choices(["heavy", "b"], [len(stacks) for stacks in calls.values()])[0]
        calls[host].pop().close()
        for asking in ["heavy"] * 5 + ["b"]:
            ask(asking)
    held = {host: len(stacks) for host, stacks in calls.items()}
    for stack in [*calls["heavy"], *calls["b"]]:
        stack.close()

    assert held["b"] >= 0.9 * held["heavy"]


def test_modalities_are_apart(bench: Bench) -> None:
    """However full one modality is, the others are empty."""
    filled = bench.fill(HEAVY, an_input("audio"))
    assert bench.fill(HEAVY, an_input("text")) == filled
    assert bench.fill(HEAVY, an_input("image")) == filled
    assert [bench.refusals(modality) for modality in Modality] == [1, 1, 1]


def test_a_call_is_refused_as_a_whole(bench: Bench) -> None:
    """If there is no room for one of its modalities, the room that it has in the others is given back."""
    bench.fill(HEAVY, an_input("audio"))
    for _ in range(400):
        assert not bench.takes_on(HEAVY, an_input("text"), an_input("image"), an_input("audio"), content_bytes=1)

    assert bench.fill(("b", "1"), an_input("text")) > 200
    assert sample(bench.metrics, "embedwire_buffered_bytes") == 0


@pytest.mark.parametrize(
    ("in_flight", "queued", "inputs"),
    [
        pytest.param(1, 0, 256, id="one place"),
        pytest.param(2, 1, 2, id="two of three"),
        pytest.param(4, 4, 9, id="one too many"),
        pytest.param(64, 256, 256, id="the most inputs of a call"),
    ],
)
def test_a_call_larger_than_everything(in_flight: int, queued: int, inputs: int) -> None:
    """Whatever its size, a call that is alone is taken on; and again once it has ended."""
    bench = Bench(in_flight, queued)
    for _ in range(3):
        with bench.admission.admit(request(HEAVY, *texts(inputs)), at_once=1000):
            pass


@pytest.mark.parametrize(("in_flight", "queued"), [(1, 0), (1, 1), (2, 0), (3, 2), (8, 0), (64, 0), (64, 256)])
def test_every_place_can_be_used(in_flight: int, queued: int) -> None:
    """What one caller may not hold, others may: a few of them use every place."""
    bench = Bench(in_flight, queued)
    filled = sum(bench.fill((str(number), "1")) for number in range(400))

    assert filled == in_flight + queued
    bench.held.close()


def test_content(bench: Bench) -> None:
    """Content in memory is bounded over all modalities and callers; what has ended is free again."""
    assert bench.takes_on(HEAVY, an_input("image"), content_bytes=600)
    assert not bench.takes_on(HEAVY, an_input("image"), content_bytes=201)
    assert bench.refusals("content_bytes") == 1
    assert bench.takes_on(HEAVY, an_input("image"), content_bytes=200)
    assert sample(bench.metrics, "embedwire_buffered_bytes") == 800
    bench.held.close()
    assert bench.takes_on(HEAVY, an_input("image"), content_bytes=1000)


def test_more_content_than_everything(bench: Bench) -> None:
    """A call with more content than is allowed is taken on when it is alone."""
    assert bench.takes_on(HEAVY, an_input("image"), content_bytes=5000)
    bench.held.close()
    assert bench.takes_on(HEAVY, an_input("image"), content_bytes=5000)


def test_content_of_audio_does_not_starve_text(bench: Bench) -> None:
    """Files that wait for quota do not keep a short text out."""
    while bench.takes_on(HEAVY, an_input("audio"), content_bytes=100):
        pass

    assert bench.takes_on(("b", "1"), an_input("text"), content_bytes=10)


def test_the_more_are_refused_the_longer_they_are_sent_away(bench: Bench) -> None:
    """Those who come back and are refused again and again cost ever less: they are told to wait longer."""
    bench.fill(HEAVY)
    for _ in range(200):
        assert not bench.takes_on(HEAVY, *texts(1))

    few, many = bench.delays[:20], bench.delays[-20:]
    assert sum(delay or 0 for delay in many) > 5 * sum(delay or 0 for delay in few)


# --- at the places ---


@in_virtual_time
async def test_keys_are_forgotten() -> None:
    """However many keys callers bring, what nobody uses any more is not kept."""
    bench = Bench()
    bench.upstream.script = Attempt.succeed
    calls = [call(key=str(number)) for number in range(100)]
    before = [bench.limiter.slots(one) for one in calls]
    await gathered(start(bench.admitted, *calls))

    for one, places in zip(calls, before, strict=True):
        assert bench.limiter.slots(one) is not places


@in_virtual_time
async def test_places() -> None:
    """So many inputs of each modality run at a time; the others wait, and go as places become free."""
    bench = Bench(in_flight=3)
    tasks = start(bench.admitted, *[call() for _ in range(8)], *[call("audio") for _ in range(8)])
    await settled()
    assert Counter(attempt.call.input.modality for attempt in bench.attempts) == {"text": 3, "audio": 3}
    assert (bench.queued(), bench.queued("audio"), bench.queued("image")) == (5, 5, 0)
    for count in range(3):
        bench.attempts[count].succeed()
    await settled()
    assert Counter(attempt.call.input.modality for attempt in bench.attempts) == {"text": 6, "audio": 3}
    assert bench.queued() == 2
    while not all(task.done() for task in tasks):
        for attempt in bench.attempts:
            if not attempt.answer.done():
                attempt.succeed()
        await settled()
    assert bench.queued() == bench.queued("audio") == 0
    assert bench.upstream.most_running == 6


@in_virtual_time
async def test_order_of_places() -> None:
    """Callers take turns, whoever is first among the inputs of one goes first."""
    bench = Bench(in_flight=1)
    callers = ["a1", "a1", "a1", "a2", "b1", "b1", "c1"]
    wanted = [call(caller=(name[0], name[1])) for name in callers]
    tasks = start(bench.admitted, *wanted)
    for _ in callers:
        await settled()
        bench.attempts[-1].succeed()
    await asyncio.gather(*tasks)

    assert ["".join(attempt.call.caller) for attempt in bench.attempts] == ["a1", "a1", "b1", "c1", "a2", "b1", "a1"]
    first = [attempt.call for attempt in bench.attempts if attempt.call.caller == ("a", "1")]
    assert first == wanted[:3]


@in_virtual_time
async def test_waiting_is_queueing() -> None:
    """The time until there is a place is counted as the queue's."""
    bench = Bench(in_flight=1)
    first, second = call(), call()
    tasks = start(bench.admitted, first, second)
    await settled()
    bench.attempts[0].succeed()
    await settled()
    bench.attempts[1].succeed()
    await asyncio.gather(*tasks)

    assert first.queue == 0
    assert second.queue > 0


@pytest.mark.parametrize("ending", ["answered", "failed", "cancelled", "cancelled after a segment"])
@in_virtual_time
async def test_a_place_comes_back(ending: str) -> None:
    """However an input ends, its place goes to the next that waits."""
    bench = Bench(in_flight=1)
    first, second = start(bench.admitted, call(), call())
    await settled()
    if ending == "cancelled after a segment":
        await bench.attempts[0].emit([SEGMENT])
        await settled()
    assert len(bench.attempts) == 1
    if ending == "failed":
        bench.attempts[0].fail(ValueError())
    elif ending == "answered":
        bench.attempts[0].succeed()
    else:
        first.cancel()
    await settled()
    bench.attempts[1].succeed()
    await gathered([first, second])
    assert bench.is_idle()


@pytest.mark.parametrize("order", ["place first", "cancellation first"])
@in_virtual_time
async def test_a_place_in_the_tick_of_a_cancellation(order: str) -> None:
    """A place that comes to somebody who is just leaving goes on to the next."""
    bench = Bench(in_flight=1)
    tasks = start(bench.admitted, call(), call(), call())
    await settled()
    if order == "place first":
        bench.attempts[0].succeed()
        while not tasks[0].done():
            await asyncio.sleep(0)
        tasks[1].cancel()
    else:
        tasks[1].cancel()
        bench.attempts[0].succeed()
    await settled()

    assert tasks[1].cancelled()
    assert len(bench.attempts) == 2
    bench.attempts[1].succeed()
    await gathered(tasks)
    assert bench.is_idle()
    assert bench.queued() == 0


@pytest.mark.parametrize("seed", range(10))
@in_virtual_time
async def test_churn(seed: int) -> None:
    """Whatever comes and goes at random: never more than the places run, none idles while one waits, all come back."""
    chance = random.Random(seed)
    bench = Bench(in_flight=4)
    bench.upstream.script = lambda attempt: _answer_some_time(attempt, chance)
    tasks: list[asyncio.Task[object]] = []
    for _ in range(500):
        tasks += start(bench.admitted, call(caller=(chance.choice("abc"), chance.choice("12"))))
        for _ in range(chance.choice([0, 0, 1, 3])):
            chance.choice(tasks).cancel()
        await asyncio.sleep(chance.choice([0, 0, 0, 0.01, 0.5]))
        assert bench.upstream.running <= 4
        if chance.random() < 0.1:
            await settled()
            assert bench.upstream.running == 4 or not bench.queued()
    await gathered(tasks)

    assert bench.is_idle()
    assert (bench.upstream.running, bench.queued()) == (0, 0)
    assert bench.upstream.most_running == 4


def _answer_some_time(attempt: Attempt, chance: random.Random) -> None:
    def say() -> None:
        if not attempt.answer.done():
            attempt.succeed() if chance.random() < 0.8 else attempt.fail(ValueError())

    asyncio.get_running_loop().call_later(chance.choice([0, 0, 0.1, 1]), say)


@in_virtual_time
async def test_a_credential_that_is_held_does_not_hold_up_others() -> None:
    """Calls that wait for the rate limit of their caller's own key leave places for those that could go."""
    bench = Bench(in_flight=4)
    paced = RateLimitPolicy(bench.upstream, RateLimiters({}, bench.metrics))
    admitted = ConcurrencyLimitPolicy(paced, bench.limiter, bench.metrics)
    bench.upstream.script = lambda attempt: attempt.fail(limited(3000)) if attempt.call.key else attempt.succeed()
    await gathered(start(admitted, call(caller=HEAVY, key="a")))
    waiting = start(admitted, *[call(caller=HEAVY, key="a") for _ in range(10)])
    await settled()
    [other] = start(admitted, call(caller=("b", "1")))
    await settled()
    is_answered = other.done()
    for task in [*waiting, other]:
        task.cancel()
    await gathered([*waiting, other])

    assert is_answered


@in_virtual_time
async def test_an_expired_input() -> None:
    """An input whose time is up is refused before it takes a place or asks the upstream, and is counted."""
    bench = Bench(in_flight=1)
    [running] = start(bench.admitted, call())
    await settled()
    assert isinstance((await gathered(start(bench.admitted, call(deadline=now()))))[0], DeadlineExceeded)
    assert (len(bench.attempts), bench.queued()) == (1, 0)
    assert sample(bench.metrics, "embedwire_expired_inputs_total", modality="text") == 1
    bench.attempts[0].succeed()
    await running


# --- with the gateway ---


class Left(Exception):
    """The caller has left."""


class Leaving:
    """A reply whose caller leaves at random when something is added."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self.added = 0
        self._chance = chance

    async def add_segments(self, _: EmbedCall, __: int, ___: list[Segment]) -> None:
        self._add()

    async def add_result(self, _: EmbedCall, __: ReplySummary | None, ___: GatewayError | None) -> None:
        self._add()

    def _add(self) -> None:
        self.added += 1
        if self._chance is not None and self._chance.random() < 0.05:
            raise Left


async def test_refusal_comes_before_anything() -> None:
    """A call that is not taken on has asked nobody and begun nothing; later it is taken on."""
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
async def test_calls_that_leave(seed: int) -> None:
    """Calls of many inputs that end at random give back all that they held at the door and at the places."""
    chance = random.Random(seed)
    bench = Bench(in_flight=3, queued=5, content_bytes=100)
    bench.upstream.script = lambda attempt: _answer_some_time(attempt, chance)
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

    assert bench.holds_nothing()
    assert sample(bench.metrics, "embedwire_buffered_bytes") == 0
    for modality in Modality:
        assert sample(bench.metrics, "embedwire_inputs_in_flight", modality=modality) == 0


async def test_all_of_a_key_leave_in_one_tick() -> None:
    """When those who hold a key's places and those who wait for one are cancelled together, all of them just leave."""
    bench = Bench(in_flight=1)
    tasks = start(bench.admitted, *[call(key="a") for _ in range(5)])
    await settled()
    for task in tasks:
        task.cancel()
    assert [type(one) for one in await gathered(tasks)] == [asyncio.CancelledError] * 5


@in_virtual_time
async def test_more_places_from_now_on() -> None:
    """More places are handed to who waits at once; fewer are not taken from who has one, and not handed on."""
    bench = Bench(in_flight=1)
    tasks = start(bench.admitted, *(call() for _ in range(4)))
    await settled()
    assert len(bench.attempts) == 1
    bench.limiter.set_capacity(3)
    await settled()
    assert len(bench.attempts) == 3
    bench.limiter.set_capacity(1)
    for ended, (attempt, running) in enumerate(zip(list(bench.attempts), (3, 3, 4), strict=True), 1):
        attempt.succeed()
        await settled()
        assert len(bench.attempts) == running, ended
    bench.attempts[-1].succeed()
    await asyncio.gather(*tasks)
    assert bench.queued() == 0


@in_virtual_time
async def test_room_of_another_size() -> None:
    """What was taken on under other numbers is given back as it was taken; the new ones hold for the next."""
    bench = Bench(in_flight=2, queued=2)
    with bench.held:
        assert bench.fill(("a", "1")) > 0
        bench.admission.resize(in_flight=1, queued=0, content_bytes=10)
        assert not bench.takes_on(("b", "1"), *texts(1))
    with bench.held:
        assert bench.fill(("a", "1")) == 1
        bench.admission.resize(in_flight=8, queued=8, content_bytes=10)
        assert bench.fill(("b", "1")) > 1
