"""The harness detects any single fault of a client, and reports none for a correct client."""

import base64
import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedwire.v1 import error_reason_pb2
from tests.conformance.cases import Case, cases, job, servers
from tests.conformance.comparing import differences
from tests.conformance.expectations import expected, faults
from tests.conformance.languages import LANGUAGES, Language
from tests.conformance.report import Column, table
from tests.conformance.runners import Runner, RunnerError

CASES = {case.name: case for case in cases()}
Outcome = dict[str, Any]


def right(name: str, tmp_path: Path) -> tuple[Case, dict[str, Any], Outcome]:
    """A case, its job, and an outcome as expected."""
    case = CASES[name]
    made = job(case, "127.0.0.1:1", tmp_path)
    outcome = expected(case, made)
    events = [event for events in outcome.pop("inputs") for event in events]
    outcome = {"name": name, "events": events, **outcome}
    return case, made, json.loads(json.dumps(_filled(outcome)))


def _filled(value: Any) -> Any:
    """Return a value that matches each pattern."""
    if isinstance(value, dict):
        if "$matches" in value:
            return "0123456789abcdef"
        if "$between" in value:
            return value["$between"][0]
        return "" if "$any" in value else value.get("$contains") or {key: _filled(each) for key, each in value.items()}
    return [_filled(each) for each in value] if isinstance(value, list) else value


def flip_a_bit(outcome: Outcome) -> None:
    segment = outcome["events"][0]["segment"]
    vector = bytearray(base64.b64decode(segment["vector"]))
    vector[700] ^= 1
    segment["vector"] = base64.b64encode(vector).decode()


def shorten_a_vector(outcome: Outcome) -> None:
    segment = outcome["events"][0]["segment"]
    segment["vector"] = base64.b64encode(base64.b64decode(segment["vector"])[:-4]).decode()


def repeat_a_segment(outcome: Outcome) -> None:
    outcome["events"].insert(1, copy.deepcopy(outcome["events"][0]))


def swap_segments(outcome: Outcome) -> None:
    outcome["events"][:2] = outcome["events"][1::-1]


def lose_the_result(outcome: Outcome) -> None:
    outcome["events"] = [event for event in outcome["events"] if "result" not in event]


def lose_an_offset(outcome: Outcome) -> None:
    outcome["events"][0]["segment"]["start_offset_sec"] = None


def lose_a_violation(outcome: Outcome) -> None:
    outcome["error"]["violations"].pop()


def change(*path: str | int, to: Any) -> Callable[[Outcome], None]:
    """Change one member."""

    def mutate(outcome: Outcome) -> None:
        place: Any = outcome
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return mutate


MUTATIONS = {
    "a bit of a vector": ("text-stream", flip_a_bit),
    "a value too few": ("text-embed", shorten_a_vector),
    "a segment too many": ("audio-url", repeat_a_segment),
    "segments in another order": ("audio-url", swap_segments),
    "no result": ("text-embed", lose_the_result),
    "no offset": ("audio-url", lose_an_offset),
    "another key": ("text-stream", change("events", 0, "segment", "input_key", to="K")),
    "a count that is not right": ("text-stream", change("events", 1, "result", "segment_count", to=2)),
    "true for 1": ("text-stream", change("events", 1, "result", "attempts", to=True)),
    "false for null": ("text-stream", change("events", 1, "result", "truncated", to=False)),
    "no violation": ("text-empty-among-several", lose_a_violation),
    "another kind": ("reason-overloaded", change("error", "kind", to="RequestError")),
    "no reason": ("reason-upstream-conflict", change("error", "reason", to="")),
    "a request id of its own": ("reason-input-rejected", change("error", "request_id", to="0123456789abcdef")),
    "no delay": ("refused-twice", change("error", "retry_delay", to=None)),
    "another delay": ("refused-twice", change("error", "retry_delay", to=1.2)),
    "success for an error": ("reason-upstream-timeout", change("error", to=None)),
    "an error for success": ("text-stream", change("error", to={"kind": "GatewayError"})),
    "not cancelled": ("cancel-in-the-middle", change("cancelled", to=False)),
    "another case": ("text-stream", change("name", to="text-embed")),
    "no events": ("text-stream", change("events", to=None)),
    "another scope": ("result-facts", change("events", 0, "segment", "embedding_scope", to="clip")),
    "no uncertainty": ("dimensions-and-uncertainty", change("events", 0, "segment", "uncertainty", to=None)),
    "no tokens": ("result-facts", change("events", 1, "result", "input_tokens", to={})),
    "no task": ("task-id-at-the-deadline", change("error", "upstream_task_id", to="")),
    "another stage": ("progress-stream", change("events", 0, "progress", "stage", to="preparing")),
    "progress that is not asked for": ("progress-embed-ignored", change("progress", to=[{"progress": {}}])),
    "progress that is lost": ("progress-embed", change("progress", to=[])),
    "progress in no list": ("text-stream", change("progress", to=None)),
    "an event that is none": ("several-stream", change("events", 0, to=17)),
    "another model": ("models-of-embed-v2", change("models", 0, "dimensions", to=511)),
}


@pytest.mark.parametrize(("name", "mutate"), MUTATIONS.values(), ids=MUTATIONS)
def test_single_fault_is_reported(name: str, mutate: Callable[[Outcome], None], tmp_path: Path) -> None:
    """A single fault in an otherwise correct outcome is reported, and a correct outcome has none."""
    case, made, outcome = right(name, tmp_path)
    assert list(faults(case, made, outcome)) == []
    mutate(outcome)
    assert list(faults(case, made, outcome))


def test_segments_of_failed_inputs(tmp_path: Path) -> None:
    """Segments of a failed input are expected in a stream and are a fault in a collected result."""
    case, made, outcome = right("partial-failure-embed", tmp_path)
    outcome["events"].insert(2, copy.deepcopy(outcome["events"][0]))
    assert list(faults(case, made, outcome))


def test_inputs_may_interleave(tmp_path: Path) -> None:
    """Events of several inputs may interleave as long as the order of each input is kept."""
    case, made, outcome = right("several-stream", tmp_path)
    events = outcome["events"]
    audio, others = events[:21], events[21:]
    outcome["events"] = [*audio[:3], *others, *audio[3:]]
    assert list(faults(case, made, outcome)) == []


def test_a_difference_of_vectors_is_readable(tmp_path: Path) -> None:
    """A difference of vectors has the number of different values and the first one."""
    case, made, outcome = right("text-stream", tmp_path)
    flip_a_bit(outcome)
    assert "1 values differ, first [175]: expected" in next(faults(case, made, outcome))


@pytest.mark.parametrize(
    ("wanted", "fits", "does_not"),
    [
        ({"$between": [1, 2]}, 1.5, 2.5),
        ({"$contains": "b"}, "abc", "xyz"),
        ({"$matches": "a.c"}, "abc", "abcd"),
        ({"$has": {"a": 1}}, {"a": 1, "b": 2}, {"b": 2}),
        ({"$has": {"$without": ["a"]}}, {"b": 2}, {"a": 1}),
        ({"$any": True}, None, ...),
    ],
)
def test_patterns(wanted: Any, fits: Any, does_not: Any) -> None:
    """A value that matches a pattern is no difference, any other is."""
    assert list(differences(wanted, fits)) == []
    assert does_not is ... or list(differences(wanted, does_not))


def test_every_reason_has_its_line() -> None:
    """The table of the README has every reason of the contract, and cases that exist."""
    table = (Path(__file__).parent / "README.md").read_text().partition("## Reasons")[2]
    reasons = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()]  # noqa: SIM118 - no dict
    scripted = {name for name in reasons if f"| {name} |" not in table}
    assert all(name.startswith("UPSTREAM_") for name in scripted)
    covered = {
        case.expect["error"]["reason"] for case in CASES.values() if "reason" in case.expect.get("error", {}) or {}
    }
    assert scripted <= covered
    assert {name for name in re.findall(r"`([a-z0-9-]+)`", table) if name not in CASES} == set()


def test_cases_name_servers() -> None:
    """Each case has an existing server and a description."""
    assert {case.server for case in CASES.values()} <= servers().keys()
    assert all(case.what for case in CASES.values())


async def test_missing_runner_is_reported(tmp_path: Path) -> None:
    """A missing folder, program or build is reported by name and in the table."""
    for language in (
        Language(tmp_path / "nowhere", ("true",)),
        Language(tmp_path, ("there-is-no-such-program",)),
        Language(tmp_path, ("./built",), build=("there-is-no-such-compiler",)),
        Language(tmp_path, ("./built",), build=("false",)),
    ):
        with pytest.raises(RunnerError):
            async with Runner.running(language):
                pass
    column = Column("go", missing="go is not installed")
    assert not column.is_ok
    assert "missing: go is not installed" in table(["a"], [column])


@pytest.mark.parametrize(
    "command", [("true",), ("cat", "/dev/null"), ("echo", "no JSON"), ("echo", "17"), ("sleep", "9")]
)
async def test_failing_runner_is_reported(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A runner that ends, writes no JSON or does not answer is an error of the case, not of the harness."""
    async with Runner.running(Language(tmp_path, command)) as runner:
        with pytest.raises(RunnerError):
            await runner.outcome({"name": "a"}, 0.5)


def test_languages_have_a_folder_below_clients() -> None:
    """Every folder in the table of languages exists."""
    assert all(language.folder.parent.name == "clients" for language in LANGUAGES.values())
