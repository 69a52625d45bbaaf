"""Load shedding: which calls are admitted, by caller, modality and content in memory."""

import contextlib
import random
from collections.abc import Iterator

import pytest

from embedwire_server.core.errors import Overloaded
from embedwire_server.core.models import Modality
from tests.support.embed_calls import an_input, sample, texts
from tests.support.virtual_time import in_virtual_time
from tests.unit.admission.support import AT_ONCE, HEAVY, Bench, request


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Load shedding with the default limits; checks in the end that everything was released."""
    made = Bench()
    yield made
    made.held.close()
    assert all(delay is not None and 0 < delay <= 60 for delay in made.delays)
    assert made.is_released()
    assert sample(made.metrics, "embedwire_buffered_bytes") == 0


# --- load shedder alone ---


@pytest.mark.parametrize("count", [1, 3, 16])
def test_single_caller_leaves_capacity(bench: Bench, count: int) -> None:
    """One caller may fill most of the capacity; a second one is still admitted, and a third after it."""
    filled = count * bench.fill(HEAVY, *texts(count))

    assert 200 <= filled <= 290
    assert bench.admits(("b", "1"), *texts(count))
    assert bench.admits(("c", "1"), *texts(1))
    assert not bench.admits(HEAVY, *texts(count))


def test_second_connection_of_a_host_is_admitted(bench: Bench) -> None:
    """One connection that fills its share leaves capacity for another one of the same host, as behind a proxy."""
    bench.fill(("proxy", "1"))

    assert bench.admits(("proxy", "2"), *texts(16))
    assert not bench.admits(("proxy", "1"), *texts(1))


def test_more_connections_give_no_larger_share(bench: Bench) -> None:
    """A host that opens more connections gets no more capacity than any other host."""
    filled = 0
    for number in range(100):
        filled += bench.fill(("heavy", str(number)))

    assert filled <= 290
    assert bench.admits(("b", "1"), *texts(16))


def test_shares_converge_as_calls_end(bench: Bench) -> None:
    """As calls end, the shares of a heavy and a new caller become about equal."""
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


def test_modalities_are_independent(bench: Bench) -> None:
    """A modality whose capacity is used up does not affect the others."""
    filled = bench.fill(HEAVY, an_input("audio"))
    assert bench.fill(HEAVY, an_input("text")) == filled
    assert bench.fill(HEAVY, an_input("image")) == filled
    assert [bench.refusals(modality) for modality in Modality] == [1, 1, 1]


def test_a_call_is_refused_as_a_whole(bench: Bench) -> None:
    """A call for which one modality has no capacity releases what it has reserved for the others."""
    bench.fill(HEAVY, an_input("audio"))
    for _ in range(400):
        assert not bench.admits(HEAVY, an_input("text"), an_input("image"), an_input("audio"), content_bytes=1)

    assert bench.fill(("b", "1"), an_input("text")) > 200
    assert sample(bench.metrics, "embedwire_buffered_bytes") == 0


@pytest.mark.parametrize(
    ("in_flight", "queued", "inputs"),
    [
        pytest.param(1, 0, 256, id="one slot"),
        pytest.param(2, 1, 2, id="two of three"),
        pytest.param(4, 4, 9, id="one too many"),
        pytest.param(64, 256, 256, id="the most inputs of a call"),
    ],
)
def test_call_larger_than_the_capacity(in_flight: int, queued: int, inputs: int) -> None:
    """A call of any size is admitted if no other call is running, and again once it has ended."""
    bench = Bench(in_flight, queued)
    for _ in range(3):
        with bench.admission.admit(request(HEAVY, *texts(inputs)), at_once=1000):
            pass


@pytest.mark.parametrize(("in_flight", "queued"), [(1, 0), (1, 1), (2, 0), (3, 2), (8, 0), (64, 0), (64, 256)])
def test_several_callers_use_the_whole_capacity(in_flight: int, queued: int) -> None:
    """A few callers together can use the capacity that one caller may not use alone."""
    bench = Bench(in_flight, queued)
    filled = sum(bench.fill((str(number), "1")) for number in range(400))

    assert filled == in_flight + queued
    bench.held.close()


def test_content(bench: Bench) -> None:
    """Content in memory is limited over all modalities and callers, and released when a call ends."""
    assert bench.admits(HEAVY, an_input("image"), content_bytes=600)
    assert not bench.admits(HEAVY, an_input("image"), content_bytes=201)
    assert bench.refusals("content_bytes") == 1
    assert bench.admits(HEAVY, an_input("image"), content_bytes=200)
    assert sample(bench.metrics, "embedwire_buffered_bytes") == 800
    bench.held.close()
    assert bench.admits(HEAVY, an_input("image"), content_bytes=1000)


def test_content_larger_than_the_limit(bench: Bench) -> None:
    """A call with more content than the limit is admitted if no other call is running."""
    assert bench.admits(HEAVY, an_input("image"), content_bytes=5000)
    bench.held.close()
    assert bench.admits(HEAVY, an_input("image"), content_bytes=5000)


def test_content_of_audio_does_not_starve_text(bench: Bench) -> None:
    """Files that wait for quota do not cause a short text to be refused."""
    while bench.admits(HEAVY, an_input("audio"), content_bytes=100):
        pass

    assert bench.admits(("b", "1"), an_input("text"), content_bytes=10)


def test_retry_delay_grows_with_refusals(bench: Bench) -> None:
    """The retry delay grows with the number of refusals, so that repeated attempts cost less."""
    bench.fill(HEAVY)
    for _ in range(200):
        assert not bench.admits(HEAVY, *texts(1))

    few, many = bench.delays[:20], bench.delays[-20:]
    assert sum(delay or 0 for delay in many) > 5 * sum(delay or 0 for delay in few)


# --- with the gateway ---


@in_virtual_time
async def test_changed_limits() -> None:
    """A call releases exactly what it reserved under the old limits; new limits apply to the next call."""
    bench = Bench(in_flight=2, queued=2)
    with bench.held:
        assert bench.fill(("a", "1")) > 0
        bench.admission.resize(in_flight=1, queued=0, content_bytes=10)
        assert not bench.admits(("b", "1"), *texts(1))
    with bench.held:
        assert bench.fill(("a", "1")) == 1
        bench.admission.resize(in_flight=8, queued=8, content_bytes=10)
        assert bench.fill(("b", "1")) > 1
