"""Log lines in both formats, character by character."""

import ast
import datetime as dt
import json
import time
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.observability import log_lines
from embedwire_server.observability.log_lines import LogLines

SECOND = 1_000_000_000
# 2026-11-29, so that every time of the day is of that date.
MIDNIGHT = int(dt.datetime(2026, 11, 29, tzinfo=dt.UTC).timestamp()) * SECOND
STANDARD = {
    "method": "rpc.method",
    "code": "rpc.response.status_code",
    "seconds": "rpc.server.call.duration",
    "model": "gen_ai.request.model",
    "error_type": "exception.type",
    "stacktrace": "exception.stacktrace",
    "pid": "process.pid",
    "exit_status": "process.exit.code",
    "queue_seconds": "embedwire.queue.duration",
    "upload_seconds": "embedwire.upload.duration",
    "upstream_seconds": "embedwire.upstream.duration",
    "decode_seconds": "embedwire.decode.duration",
    "trace_id": "trace_id",
    "span_id": "span_id",
    "trace_flags": "trace_flags",
}
# Names that a line replaces by its own values; `exc_info` is described by its type and locations.
REPLACED = {"level", "logger", "timestamp", "event", "exc_info"}
NAMES = st.sampled_from(sorted(STANDARD)) | st.text(st.characters(codec="ascii"))
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


class Logger(NamedTuple):
    name: str = "some.where"


def line(form: str, event: dict[str, Any], **facts: object) -> str:
    """Return the line of an event, without its line break."""
    made = LogLines(form, facts, is_terminal=False)(Logger(), "info", event).decode()
    assert made[-1] == "\n"
    return made[:-1]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        pytest.param(
            "json",
            '{"timestamp": "2026-11-29T00:00:01.000002Z", "severity_text": "INFO", "severity_number": 9, '
            '"body": "call", "rpc.response.status_code": "OK", "rpc.server.call.duration": 0.012345, '
            '"embedwire.cause": null, "embedwire.request_id": "id-1", "embedwire.worker": 3, '
            '"otel.scope.name": "some.where"}',
        ),
        pytest.param(
            "text",
            "2026-11-29T00:00:01.000002Z [info] call code=OK seconds=0.012345 cause=None request_id=id-1 worker=3 "
            "logger=some.where",
        ),
    ],
)
def test_a_line(form: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line has the fields, event, request id, common fields, level, logger and time."""
    monkeypatch.setattr(time, "time_ns", lambda: MIDNIGHT + SECOND + 2999)
    token = log_lines.request_id.set("id-1")
    try:
        assert line(form, {"code": "OK", "seconds": 0.012345, "cause": None, "event": "call"}, worker=3) == expected
    finally:
        log_lines.request_id.reset(token)


@pytest.mark.parametrize(("level", "number"), [("info", 9), ("notice", 0), ("level 35", 0)])
def test_a_level_without_a_severity(level: str, number: int) -> None:
    """A level of another library keeps its name, with the number of an unspecified severity."""
    found = json.loads(LogLines("json", {}, is_terminal=False)(Logger(), level, {"event": "a"}))
    assert (found["severity_text"], found["severity_number"]) == (level.upper(), number)


class Unprintable:
    """A value without a text."""

    def __repr__(self) -> str:
        raise ValueError


def test_an_event_of_many_values_that_cannot_be_rendered() -> None:
    """What is left of it has its level, its time and its event."""
    event = {f"value{number}": Unprintable() for number in range(100)} | {"event": "a"}
    found = json.loads(line("json", event))
    assert (found["severity_text"], found["body"]) == ("INFO", "a")
    assert found["timestamp"]


@given(st.lists(st.integers(0, 4 * SECOND - 1) | st.integers(0, 86_400 * SECOND - 1), min_size=1))
def test_the_time(times: list[int]) -> None:
    """Each line has the time of the clock, also if the clock is set back."""
    lines = LogLines("json", {}, is_terminal=False)
    with pytest.MonkeyPatch.context() as patch:
        for nanoseconds in times:
            now = MIDNIGHT + nanoseconds
            patch.setattr(time, "time_ns", lambda now=now: now)
            expected = dt.datetime.fromtimestamp(MIDNIGHT // SECOND, dt.UTC) + dt.timedelta(
                microseconds=nanoseconds // 1000
            )
            written = json.loads(lines(Logger(), "info", {"event": ""}))["timestamp"]
            assert written == expected.isoformat(timespec="microseconds").replace("+00:00", "Z")


@given(st.dictionaries(NAMES.filter(lambda name: name not in REPLACED), VALUES, max_size=20), st.text())
def test_json_round_trip(facts: dict[str, object], event: str) -> None:
    """A JSON parser returns the logged values, except for text with surrogates."""
    found = json.loads(line("json", facts | {"event": event}))
    for name in ("severity_text", "severity_number", "otel.scope.name", "timestamp"):
        found.pop(name)
    if "\\ud" not in json.dumps(facts | {"event": event}):
        assert found == {"body": event} | {STANDARD.get(name, f"embedwire.{name}"): facts[name] for name in facts}


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(codec="ascii")))
def test_text_is_one_printable_line(event: str, value: str) -> None:
    """Text that is not printable is written as a Python literal, so that it has no line breaks or escape codes."""
    found = line("text", {"fact": value, "event": event})
    assert found.isprintable()
    said = f"[info] {event} fact={value} logger=some.where"
    whole = found if said.isprintable() else ast.literal_eval(found)
    assert whole.partition(" ")[2] == said
