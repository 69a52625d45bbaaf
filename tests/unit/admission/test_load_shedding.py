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


# --- with the gateway ---


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
