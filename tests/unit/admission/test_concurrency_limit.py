"""The concurrency limit: how many inputs run at a time, and the order of those that wait."""

import asyncio
import random
from collections import Counter

import pytest

from embedwire_server.core.errors import DeadlineExceeded
from embedwire_server.core.results import Stage
from embedwire_server.policies.concurrency_limit import ConcurrencyLimitPolicy
from embedwire_server.policies.rate_limit.policy import RateLimiters, RateLimitPolicy
from embedwire_server.testing import Attempt
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import SEGMENT, call, gathered, limited, sample, start
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.admission.support import HEAVY, Bench, answer_some_time

# --- limiter alone ---


@in_virtual_time
async def test_keys_are_forgotten() -> None:
    """Slots of a credential that is no longer in use are discarded, however many credentials callers send."""
    bench = Bench()
    bench.upstream.script = Attempt.succeed
    calls = [call(credential=str(number)) for number in range(100)]
    before = [bench.limiter.slots(one) for one in calls]
    await gathered(start(bench.admitted, *calls))

    for one, slots in zip(calls, before, strict=True):
        assert bench.limiter.slots(one) is not slots


@in_virtual_time
async def test_slots_per_modality() -> None:
    """At most the configured number of inputs of each modality run at a time; the others wait for a free slot."""
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
async def test_a_task_has_no_slot() -> None:
    """An input whose task the upstream processes releases its slot, once; stages are passed on."""
    bench, stages = Bench(in_flight=1), list[Stage]()

    async def report(_: EmbedCall, stage: Stage) -> None:
        stages.append(stage)

    first, second = call("audio"), call("audio")
    first.report = report
    tasks = start(bench.admitted, first, second)
    await settled()
    await first.enter(Stage.UPLOADING)
    await settled()
    assert [attempt.call for attempt in bench.attempts] == [first]
    await first.enter(Stage.PROCESSING)
    await first.enter(Stage.PROCESSING)
    await settled()
    assert [attempt.call for attempt in bench.attempts] == [first, second]
    for attempt in bench.attempts:
        attempt.succeed()
    await gathered(tasks)
    assert bench.is_idle()
    assert stages == [Stage.UPLOADING, Stage.PROCESSING, Stage.PROCESSING]


@in_virtual_time
async def test_order_of_waiting_inputs() -> None:
    """Free slots go to callers in rotation, and to the inputs of one caller in order of arrival."""
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
async def test_waiting_counts_as_queue_time() -> None:
    """The time that an input waits for a slot is counted as queue time."""
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
async def test_slot_is_released(ending: str) -> None:
    """However an input ends, its slot goes to the next waiting input."""
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
async def test_slot_granted_in_the_iteration_of_a_cancellation(order: str) -> None:
    """A slot that is granted to a waiter in the event loop iteration of its cancellation goes to the next waiter."""
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
    """Under random load the limit holds, no slot idles while an input waits, and all slots are released."""
    chance = random.Random(seed)
    bench = Bench(in_flight=4)
    bench.upstream.script = lambda attempt: answer_some_time(attempt, chance)
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


@in_virtual_time
async def test_rate_limited_credential_occupies_no_shared_slots() -> None:
    """Calls that wait for the rate limit of a caller's own key do not occupy the slots of other credentials."""
    bench = Bench(in_flight=4)
    paced = RateLimitPolicy(bench.upstream, RateLimiters({}, bench.metrics))
    admitted = ConcurrencyLimitPolicy(paced, bench.limiter, bench.metrics)
    bench.upstream.script = lambda attempt: (
        attempt.fail(limited(3000)) if attempt.call.credential else attempt.succeed()
    )
    await gathered(start(admitted, call(caller=HEAVY, credential="a")))
    waiting = start(admitted, *[call(caller=HEAVY, credential="a") for _ in range(10)])
    await settled()
    [other] = start(admitted, call(caller=("b", "1")))
    await settled()
    is_answered = other.done()
    for task in [*waiting, other]:
        task.cancel()
    await gathered([*waiting, other])

    assert is_answered


@in_virtual_time
async def test_expired_input() -> None:
    """An input past its deadline is refused before it takes a slot or sends a request, and is counted."""
    bench = Bench(in_flight=1)
    [running] = start(bench.admitted, call())
    await settled()
    assert isinstance((await gathered(start(bench.admitted, call(deadline=now()))))[0], DeadlineExceeded)
    assert (len(bench.attempts), bench.queued()) == (1, 0)
    assert sample(bench.metrics, "embedwire_expired_inputs_total", modality="text") == 1
    bench.attempts[0].succeed()
    await running


# --- with the gateway ---


async def test_cancellation_of_all_calls_of_a_key_at_once() -> None:
    """When the running and the waiting calls of a key are cancelled together, each ends as cancelled."""
    bench = Bench(in_flight=1)
    tasks = start(bench.admitted, *[call(credential="a") for _ in range(5)])
    await settled()
    for task in tasks:
        task.cancel()
    assert [type(one) for one in await gathered(tasks)] == [asyncio.CancelledError] * 5


@in_virtual_time
async def test_resized_limit() -> None:
    """New slots go to waiting inputs immediately; a removed slot is kept by its running input and not granted again."""
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
async def test_an_input_that_expires_in_the_queue_is_counted() -> None:
    """An input that is cancelled while it waits counts as expired at its deadline, and not before it."""
    bench = Bench(in_flight=1)
    start(bench.admitted, call())
    await settled()
    left, late = start(bench.admitted, call(deadline=now() + 5), call(deadline=now() + 5))
    await asyncio.sleep(4)
    left.cancel()  # its caller has disconnected
    await gathered([left])
    assert sample(bench.metrics, "embedwire_expired_inputs_total", modality="text") == 0
    await asyncio.sleep(1)
    late.cancel()  # as the call's scope does at the deadline
    await gathered([late])

    assert bench.queued() == 0
    assert sample(bench.metrics, "embedwire_expired_inputs_total", modality="text") == 1
