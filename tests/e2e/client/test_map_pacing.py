"""How `map` adapts to rejections: the number of calls at a time, pauses, back-off, and the order of the queue."""

import pytest

from embedwire import Audio, Failure, Image, Text
from embedwire.inputs import AnyInput
from embedwire.map.batches import LINGER, Item, Queue
from embedwire.map.pacing import FIRST_BACKOFF, LONGEST_BACKOFF, Pacing


def rejected(reason: str, delay: float | None = None) -> list[Failure]:
    return [Failure("RESOURCE_EXHAUSTED", reason, "no", retry_delay=delay)]


def running(count: int, most: int = 8) -> Pacing:
    pacing = Pacing(most)
    for _ in range(count):
        pacing.sent()
    return pacing


def send(pacing: Pacing, now: float) -> int:
    """Send as many calls as may be sent now; return how many."""
    count = 0
    while now >= pacing.opens_at:
        pacing.sent()
        count += 1
    return count


def test_overload_lowers_the_number_of_calls_to_those_that_run() -> None:
    """A rejection for overload leaves as many calls as still run, without a pause; each end allows one more."""
    pacing = running(8)
    for _ in range(6):
        pacing.rejected(rejected("OVERLOADED", 3.0), 0.0, 1.0)
    assert send(pacing, 1.0) == 0
    assert pacing.paused_seconds == 0.0
    pacing.completed()
    assert send(pacing, 1.0) == 1
    assert send(pacing, 99.0) == 0


def test_overload_is_tested_after_its_delay() -> None:
    """If no call ends before the delay of the rejection has passed, one call more than are running is sent."""
    pacing = running(4)
    pacing.rejected(rejected("OVERLOADED", 3.0), 0.0, 1.0)
    pacing.rejected(rejected("OVERLOADED", 3.0), 0.0, 2.0)
    assert pacing.opens_at == 5.0
    assert send(pacing, 5.0) == 1
    assert send(pacing, 99.0) == 0
    pacing.rejected(rejected("OVERLOADED"), 5.0, 6.0)
    assert 6.0 < pacing.opens_at <= 6.0 + FIRST_BACKOFF
    assert send(pacing, 7.0) == 1
    pacing.completed()
    assert send(pacing, 7.0) == 1


def test_delays_are_limited() -> None:
    """A server can pause a run for one day at most, whatever it asks for."""
    for reason in ("OVERLOADED", "RATE_LIMITED"):
        pacing = running(2)
        pacing.rejected(rejected(reason, 1e12), 0.0, 1.0)
        assert pacing.opens_at == 1.0 + 24 * 3600


def test_completed_calls_raise_the_number_by_its_reciprocal() -> None:
    """From two calls at a time it takes three completed calls until a third is sent, and the number has a maximum."""
    pacing = running(3, most=4)
    pacing.rejected(rejected("OVERLOADED", 3.0), 0.0, 1.0)
    number, numbers = 2, []
    for _ in range(20):
        pacing.completed()
        number += send(pacing, 1.0) - 1
        numbers.append(number)
    assert numbers[:3] == [2, 2, 3]
    assert numbers[-1] == 4
    assert numbers == sorted(numbers)


def test_failed_calls_do_not_raise_the_number() -> None:
    """A call that failed frees its place, and neither raises the number of calls nor resets the back-off."""
    pacing = running(3)
    pacing.rejected(rejected("OVERLOADED"), 0.0, 1.0)
    for _ in range(9):
        pacing.failed()
        assert send(pacing, 1.0) == 1
    pacing.rejected(rejected("OVERLOADED"), 1.0, 2.0)
    assert FIRST_BACKOFF <= pacing.opens_at - 2.0 <= 2 * FIRST_BACKOFF


def test_overload_of_the_last_call_pauses() -> None:
    """If no call runs any more, the run pauses for the delay of the rejection, and one call is sent then."""
    pacing = running(1)
    pacing.rejected(rejected("OVERLOADED", 3.0), 0.0, 10.0)
    assert (pacing.paused_until, pacing.paused_seconds) == (13.0, 3.0)
    assert send(pacing, 12.9) == 0
    assert send(pacing, 13.0) == 1


@pytest.mark.parametrize("reason", ["RATE_LIMITED", "DRAINING"])
def test_other_rejections_pause_the_run(reason: str) -> None:
    """Another rejection pauses the run for the longest delay, and does not lower the number of calls."""
    pacing = running(4)
    pacing.rejected([*rejected(reason, 2.0), *rejected(reason, 5.0), *rejected(reason, 1.0)], 0.0, 10.0)
    assert pacing.opens_at == 15.0
    pacing.rejected(rejected(reason, 1.0), 0.0, 11.0)
    assert (pacing.paused_until, pacing.paused_seconds) == (15.0, 5.0)
    assert send(pacing, 15.0) == 6


def test_the_back_off_without_a_delay() -> None:
    """Without a delay the pauses double from 100 ms to 5 s, with jitter, and a completed call resets them."""
    pacing, now, pauses = Pacing(8), 100.0, []
    for _ in range(9):
        pacing.sent()
        pacing.rejected(rejected("DRAINING", 0), now, now)
        pauses.append(pacing.paused_until - now)
        now = pacing.paused_until
    for pause, step in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0], strict=True):
        assert step / 2 <= pause <= step + 1e-9
    pacing.sent()
    pacing.sent()
    pacing.completed()
    pacing.rejected(rejected("DRAINING"), now, now)
    assert pacing.paused_until - now <= FIRST_BACKOFF + 1e-9
    assert LONGEST_BACKOFF == 5.0


def test_calls_that_were_rejected_together_back_off_once() -> None:
    """Calls that were sent before the last back-off do not double it."""
    pacing = running(8)
    for _ in range(8):
        pacing.rejected(rejected("DRAINING"), 0.0, 1.0)
    assert pacing.paused_until - 1.0 <= 2 * FIRST_BACKOFF


def queue(*items: Item) -> Queue:
    made = Queue()
    for item in items:
        made.append(item)
    return made


def an_item(position: int, *, most: int = 3, read_at: float = 0.0, **more: object) -> Item:
    return Item(position, Text("a"), read_at, most, **more)  # type: ignore[arg-type]


def positions(items: list[Item]) -> list[int]:
    return [item.position for item in items]


def test_a_group_waits_until_it_is_full() -> None:
    """A group that is not full is ready 50 ms after its first input was read, or if there are no further ones."""
    waiting = queue(an_item(0, read_at=1.0), an_item(1, read_at=1.04))
    assert waiting.take(1.0 + LINGER / 2, is_complete=False) == []
    assert waiting.ready_at(is_complete=False) == 1.0 + LINGER
    assert waiting.ready_at(is_complete=True) < 1.0
    waiting.append(an_item(2, read_at=1.04))
    assert waiting.ready_at(is_complete=False) < 1.0
    assert positions(waiting.take(1.04, is_complete=False)) == [0, 1, 2]
    assert not waiting


def test_inputs_that_are_put_back_come_first() -> None:
    """Inputs that were sent in vain are sent before others, in their order, and divided ones stay divided."""
    waiting = queue(an_item(5), an_item(6))
    waiting.put_back([an_item(3, most=2), an_item(1, most=2), an_item(2, most=2), an_item(4)])
    groups = [positions(waiting.take(9.0, is_complete=True)) for _ in range(4)]
    assert groups == [[1, 2], [3, 4], [5, 6], []]


def measured(*inputs: AnyInput) -> list[Item]:
    items = [Item(position, each, 0.0, 16) for position, each in enumerate(inputs)]
    for item in items:
        item.measure()
    return items


def test_a_group_holds_at_most_one_mebibyte() -> None:
    """Texts, in UTF-8, and inline files of a group have at most 1 MiB together; a larger text is alone."""
    mib = 1 << 20
    asked: list[AnyInput] = [
        Text("ä" * 250_000),
        Image(data=bytes(mib - 500_000)),
        Text("b"),
        Text("c" * (mib + 1)),
        Text("d"),
    ]
    waiting = queue(*measured(*asked))
    assert [positions(waiting.take(0.0, is_complete=True)) for _ in range(4)] == [[0, 1], [2], [3], [4]]


def test_an_upload_leaves_the_group_open() -> None:
    """Files above 1 MiB or of unknown size are uploads; the inputs before and after them share a call."""
    image, sound = Image(data=bytes((1 << 20) + 1)), Audio(chunks=[b"a"])
    waiting = queue(*measured(Text("a"), image, Text("b"), sound, Image(url="http://media.test/a.png")))
    groups = [positions(waiting.take(0.0, is_complete=False)) for _ in range(3)]
    assert groups == [[1], [3], []]
    assert positions(waiting.take(0.0, is_complete=True)) == [0, 2, 4]


def test_uploads_are_sent_in_the_order_of_the_inputs() -> None:
    """An upload is alone; of an upload and a group, the earlier one is sent first."""
    waiting = queue(an_item(0), an_item(1, is_upload=True), an_item(2), an_item(3, is_upload=True))
    assert positions(waiting.take(0.0, is_complete=False)) == [1]
    assert positions(waiting.take(9.0, is_complete=False)) == [0, 2]
    assert positions(waiting.take(9.0, is_complete=False)) == [3]


def test_inputs_of_different_deadlines_do_not_share_a_call() -> None:
    """If waits count, inputs that were sent before share calls with those of the same deadline only."""
    waiting = queue(an_item(0, deadline=5.0), an_item(1, deadline=5.0), an_item(2), an_item(3))
    assert positions(waiting.take(1.0, is_complete=True)) == [0, 1]
    assert positions(waiting.take(1.0, is_complete=True)) == [2, 3]
    overdue = queue(an_item(0, deadline=5.0), an_item(1, deadline=6.0), an_item(2))
    assert overdue.first_deadline() == 5.0
    assert positions(overdue.remove_overdue(5.0)) == [0]
    assert positions(overdue.clear()) == [1, 2]
