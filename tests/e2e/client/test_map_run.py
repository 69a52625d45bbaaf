"""The state of a run of `map`, with a clock of the test: when inputs are read, sent, sent again and given up."""

from typing import Any

from embedwire import DeadlineExceededError, Embedding, EmbedwireError, Failure, MapOptions, Text
from embedwire.map.call import Call
from embedwire.map.failures import failed
from embedwire.map.run import Run


def started(count: int = 2, *, is_complete: bool = True, **options: Any) -> Run:
    """A run that began at 0 and has read this number of inputs."""
    chosen: MapOptions = {"inputs_per_call": 2, "concurrent_calls": 2, **options}  # type: ignore[typeddict-item]
    run = Run("m", chosen, lambda _: 10.0)
    run.begin(0.0)
    for _ in range(count):
        run.add(run.new_item(Text("a"), 0.0))
    if is_complete:
        run.end_of_inputs()
    return run


def sent(run: Run, now: float) -> Call:
    call = run.next_call(now)
    assert call is not None
    return call


def complete(run: Run, call: Call, now: float) -> None:
    """Answer all inputs of a call, and end it."""
    for index in range(len(call.items)):
        run.answer(call, embedding(call, index))
    run.end(call, now)


def embedding(call: Call, index: int, failure: Any = None) -> Embedding:
    made = failed(call.items[index], failure or Failure("", "", ""), "id")
    object.__setattr__(made.result, "input_index", index)  # as the server numbers it
    object.__setattr__(made.result, "failure", failure)
    return made


def taken(run: Run) -> list[Embedding]:
    found = []
    while (embedding := run.take()) is not None:
        found.append(embedding)
    return found


def rejected(reason: str = "RATE_LIMITED", delay: float | None = 5.0) -> EmbedwireError:
    return Failure("RESOURCE_EXHAUSTED", reason, "no", retry_delay=delay).error("id")


def reasons(found: list[Embedding]) -> list[str | None]:
    return [each.failure.reason if each.failure else None for each in found]


def test_no_more_calls_than_allowed() -> None:
    """A run sends as many calls at a time as concurrent_calls; a further one when one has ended."""
    run = started(6)
    first, _ = sent(run, 0.0), sent(run, 0.0)
    assert run.next_call(0.0) is None
    complete(run, first, 1.0)
    assert [item.position for item in sent(run, 1.0).items] == [4, 5]


def test_no_further_input_is_read_than_the_window() -> None:
    """Reading continues when embeddings are taken, not when they are complete."""
    run = started(4, is_complete=False)
    assert not run.may_read
    complete(run, sent(run, 0.0), 1.0)
    assert not run.may_read
    run.take()
    assert run.may_read


def test_pauses_extend_the_timeout_of_the_run() -> None:
    """The time in which rejections pause a run is added to run_timeout; with count_waits it is not."""
    for count_waits, ends_at in ((False, 8.0), (True, 3.0)):
        run = started(run_timeout=3.0, count_waits=count_waits, timeout=None)
        run.end(sent(run, 1.0), 1.0, rejected(delay=5.0))
        assert run.next_call(5.9) is None
        assert run.wakes_at == (6.0 if ends_at > 6 else ends_at)
        if count_waits:
            assert run.expire(3.0)
            continue
        assert not run.expire(6.0)
        sent(run, 6.0)
        assert run.wakes_at == 8.0
        assert run.expire(8.0)
        assert reasons(taken(run)) == ["DEADLINE_EXCEEDED"] * 2
        assert run.is_over
        assert isinstance(run.error, DeadlineExceededError)


def test_a_run_that_ended_in_time_has_no_error() -> None:
    """If all inputs have ended before run_timeout, they can be taken after it, and there is no error."""
    run = started(run_timeout=3.0)
    complete(run, sent(run, 0.0), 1.0)
    assert not run.expire(99.0)
    assert reasons(taken(run)) == [None, None]
    assert run.is_over
    assert run.error is None


def test_a_run_whose_iterator_is_not_at_its_end_is_cut_off() -> None:
    """At run_timeout a run ends with an error also if no input is open, as the iterator might give further ones."""
    run = started(is_complete=False, run_timeout=3.0)
    complete(run, sent(run, 1.0), 1.0)
    assert run.expire(3.0)
    assert reasons(taken(run)) == [None, None]
    assert isinstance(run.error, DeadlineExceededError)


def test_counted_waits() -> None:
    """With count_waits an input keeps the deadline of its first call, and ends when it passes or would pass."""
    run = started(count_waits=True)
    call = sent(run, 1.0)
    assert call.options["timeout"] == 10.0
    run.end(call, 2.0, rejected(delay=5.0))
    again = sent(run, 7.0)
    assert again.options["timeout"] == 4.0
    run.end(again, 7.5, rejected(delay=5.0))
    assert reasons(taken(run)) == ["DEADLINE_EXCEEDED"] * 2
    assert run.is_over


def test_counted_waits_for_a_running_call() -> None:
    """An input that waits for the end of another call ends as soon as its deadline passes."""
    run = started(4, count_waits=True)
    first = sent(run, 0.0)
    run.end(sent(run, 0.0), 1.0, rejected("OVERLOADED", 0))
    assert run.next_call(1.0) is None
    assert 1.0 < run.wakes_at <= 1.1
    assert not run.expire(9.9)
    assert run.expire(10.0)
    assert [each.result.input_index for each in taken(run)] == [2, 3]
    complete(run, first, 11.0)
    assert run.is_finished


def test_a_rejected_group_does_not_wait_for_a_slow_call() -> None:
    """After OVERLOADED the inputs are sent again when another call ends or the delay has passed, whichever is first."""
    for is_first in (True, False):
        run = started(4)
        other = sent(run, 0.0)
        run.end(sent(run, 0.0), 1.0, rejected("OVERLOADED", 3.0))
        assert run.next_call(3.9) is None
        assert run.wakes_at == 4.0
        if is_first:
            complete(run, other, 2.0)
        assert [item.position for item in sent(run, 2.0 if is_first else 4.0).items] == [2, 3]


def test_calls_that_fail_do_not_raise_the_number_of_calls() -> None:
    """Calls that fail, or whose inputs cannot be read, free their place, and nothing more."""
    run = started(20, run_timeout=30 * 24 * 3600.0)
    kept = sent(run, 0.0)
    run.end(sent(run, 0.0), 1.0, rejected("OVERLOADED", 60.0))
    run.end(kept, 1.0, Failure("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "late").error("id"))
    call = sent(run, 1.0)
    run.skip(call, {0: LookupError(), 1: LookupError()})
    run.end(call, 1.0)
    sent(run, 1.0)
    assert run.next_call(60.9) is None
    assert run.wakes_at == 30 * 24 * 3600.0


def test_each_sending_has_the_whole_timeout() -> None:
    """Waits do not count for the timeout of a call, unless count_waits is set."""
    run = started()
    run.end(sent(run, 0.0), 8.0, rejected(delay=50.0))
    assert sent(run, 58.0).options["timeout"] == 10.0


def test_a_rejected_result_is_sent_again() -> None:
    """An input whose result is a rejection is sent again after the call, without those that have another result."""
    run = started(2)
    call = sent(run, 0.0)
    run.answer(call, embedding(call, 1, rejected(delay=2.0).failure))
    run.answer(call, embedding(call, 0))
    run.end(call, 1.0)
    assert [each.result.input_index for each in taken(run)] == [0]
    assert run.next_call(2.9) is None
    assert [item.position for item in sent(run, 3.0).items] == [1]


def test_a_result_that_is_larger_than_its_limit_ends() -> None:
    """A single input that is rejected without a delay, since it is larger than a rate limit, ends with that."""
    run = started(1)
    call = sent(run, 0.0)
    run.answer(call, embedding(call, 0, rejected(delay=None).failure))
    assert reasons(taken(run)) == ["RATE_LIMITED"]


def test_a_request_that_is_larger_than_its_limit_is_divided() -> None:
    """RATE_LIMITED without a delay divides a call in halves, without a pause; a single input ends with it."""
    run = started(4, inputs_per_call=4, concurrent_calls=1)
    sizes = []
    for now in (1.0, 2.0, 3.0, 4.0):
        call = sent(run, now)
        sizes.append(len(call.items))
        run.end(call, now, rejected(delay=None))
    complete(run, sent(run, 5.0), 5.0)
    assert sizes == [4, 2, 1, 1]
    assert reasons(taken(run)) == ["RATE_LIMITED", "RATE_LIMITED", None, None]


def test_violations_that_name_no_input_of_the_call() -> None:
    """A failure whose violations name none of the open inputs is that of all of them, without `request.`."""
    named = Failure("INVALID_ARGUMENT", "INVALID_REQUEST", "request.model_name: no")
    run = started(2)
    run.end(sent(run, 0.0), 1.0, named.error("id", 3))
    found = taken(run)
    assert [each.failure and each.failure.message for each in found] == ["model_name: no"] * 2
    assert [(each.result.attempts, each.result.request_id) for each in found] == [(3, "id")] * 2


def test_an_input_is_cut_off_while_it_is_measured() -> None:
    """At run_timeout an input that was read, but whose file is still being measured, ends with a failure."""
    run = started(0, is_complete=False, run_timeout=3.0)
    item = run.new_item(Text("a"), 1.0)
    assert run.expire(3.0)
    run.add(item)
    assert reasons(taken(run)) == ["DEADLINE_EXCEEDED"]
    assert run.is_over


def test_a_source_that_fails_after_its_result() -> None:
    """An input that has its result keeps it if its source fails then, and the inputs of other calls are awaited."""
    run = started(4)
    first, second = sent(run, 0.0), sent(run, 0.0)
    run.answer(first, embedding(first, 0))
    assert run.skip(first, {0: OSError(5, "no")})
    run.end(first, 1.0, rejected("INPUT_REJECTED"))
    assert [each.result.input_index for each in taken(run)] == [0, 1]
    assert not run.is_finished
    complete(run, second, 2.0)
    assert [each.result.input_index for each in taken(run)] == [2, 3]
    assert run.is_over


def test_a_call_of_a_stopped_run_is_not_made() -> None:
    """A call is not made if its run was stopped, or none of its inputs could be read, while they were encoded."""
    run = started(4)
    first, second = sent(run, 0.0), sent(run, 0.0)
    assert not run.skip(first, {0: LookupError(), 1: LookupError()})
    run.stop(None)
    assert not run.skip(second, {})


def test_reports_of_calls_after_the_end_are_ignored() -> None:
    """After a run was stopped, results and ends of its calls change nothing."""
    run = started(4)
    first, second = sent(run, 0.0), sent(run, 0.0)
    run.answer(first, embedding(first, 0))
    run.stop(RuntimeError("closed"))
    complete(run, first, 1.0)
    run.end(second, 1.0, rejected())
    assert len(taken(run)) == 1
    assert run.is_over
    assert run.next_call(9.0) is None
    assert isinstance(run.error, RuntimeError)
