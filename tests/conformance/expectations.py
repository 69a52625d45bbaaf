"""The complete expected outcome of a case, and its comparison with an outcome."""

import base64
import itertools
import struct
from collections.abc import Iterator
from typing import Any

from tests.conformance.cases import Case
from tests.conformance.comparing import differences
from tests.conformance.replies import Reply

ANY = {"$any": True}
NEW_REQUEST_ID = {"$matches": "[0-9a-f]{16}"}
FAILURE: dict[str, Any] = {
    "code": "",
    "reason": "",
    "message": ANY,
    "violations": [],
    "retry_delay": None,
    "quotas": [],
    "upstream": None,
    "cause": "",
    "upstream_task_id": "",
}
SAID: dict[str, Any] = {
    "http_status": 0,
    "code": "",
    "message": "",
    "docs_url": "",
    "rate_limit_headers": {},
    "trace_id": "",
}
REFUSED_BY_CLIENT = ("Argument", "File")


def faults(case: Case, job: dict[str, Any], outcome: dict[str, Any]) -> Iterator[str]:
    """Return the differences between an outcome and the expectation of its case."""
    wanted = expected(case, job)
    found = {name: outcome.get(name) for name in ("models", "error", "cancelled")}
    events, progress = outcome.get("events"), outcome.get("progress")
    if outcome.get("name") != case.name or not isinstance(events, list) or not isinstance(progress, list):
        yield f"no outcome of this case: name {outcome.get('name')!r}"
        return
    in_order = job["call"] not in ("stream", "map") or len(job["inputs"]) < 2  # among several, inputs interleave
    ordered: list[Any] = list(itertools.chain.from_iterable(wanted.pop("inputs")))
    if not in_order:
        ordered.sort(key=_index)
        events = sorted(events, key=_index)  # stable: keeps the order within an input
        progress = sorted(progress, key=_index)
    for difference in differences({"events": ordered, **wanted}, {"events": events, "progress": progress, **found}):
        yield _readable(difference, ordered, events)


def expected(case: Case, job: dict[str, Any]) -> dict[str, Any]:
    """Return the whole outcome, with the events by input."""
    replies, wanted = case.built_replies(), case.expect
    inputs = [
        list(_events(index, job["inputs"][index], each, replies, streams=job["call"] == "stream"))
        for index, each in enumerate(wanted.get("inputs", ()))
    ]
    reported = job["on_progress"] and job["call"] != "stream"
    return {
        "inputs": inputs,
        "progress": [
            stage
            for index, each in enumerate(wanted.get("inputs", ()) if reported else ())
            for stage in _progress(index, job["inputs"][index], each)
        ],
        "models": wanted.get("models"),
        "error": _error(wanted.get("error"), job),
        "cancelled": wanted.get("cancelled", False),
    }


def _progress(index: int, given: dict[str, Any], wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for stage in wanted.get("progress", ()):
        about = {"input_index": index, "input_key": given["key"], "stage": "", "upstream_task_id": ""}
        yield {"progress": about | stage}


def _events(
    index: int, given: dict[str, Any], wanted: dict[str, Any], replies: dict[str, Reply], *, streams: bool
) -> Iterator[dict[str, Any]]:
    by_modality = next((name for name, reply in replies.items() if reply.modality == given["kind"]), "")
    reply = replies.get(wanted.get("reply", by_modality))
    failure = wanted.get("failure")
    parts = reply.parts if reply else ()
    count = wanted.get("segments", 0 if failure else len(parts))
    if streams:
        yield from _progress(index, given, wanted)
    if streams or not failure:
        for place, part in enumerate(parts[:count]):
            yield {
                "segment": {
                    "input_index": index,
                    "input_key": given["key"],
                    "segment_index": place,
                    "modality": given["kind"],
                    "start_offset_sec": part.start,
                    "end_offset_sec": part.end,
                    "embedding_option": part.option,
                    "embedding_scope": "",
                    "vector": base64.b64encode(part.vector).decode(),
                    "uncertainty": None,
                }
                | wanted.get("segment", {})
            }
    if wanted.get("result", {}) is not None:
        yield {"result": _result(index, given, wanted, count, reply)}


def _result(
    index: int, given: dict[str, Any], wanted: dict[str, Any], count: int, reply: Reply | None
) -> dict[str, Any]:
    failure = wanted.get("failure")
    named = {"model_name": "", "dimensions": 0, "input_url": None, "input_filename": None}
    if reply and not failure:
        named = reply.facts | {"dimensions": reply.dimensions}
    made: dict[str, Any] = {
        "input_index": index,
        "input_key": given["key"],
        **named,
        "segment_count": count,
        "truncated": None,
        "media_duration_sec": None,
        "attempts": 1,
        "upstream": "custom",
        "input_tokens": {},
        "upstream_task_id": "",
        "cache_status": None,
        "failure": failure and _failure(failure),
    }
    found: dict[str, Any] = made | wanted.get("result", {})
    return found


def _failure(wanted: dict[str, Any]) -> dict[str, Any]:
    made = FAILURE | wanted
    if made["upstream"] is not None:
        made["upstream"] = SAID | made["upstream"]
    return made


def _error(wanted: dict[str, Any] | None, job: dict[str, Any]) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if wanted["kind"] in REFUSED_BY_CLIENT:
        return {"message": ANY} | wanted
    request_id = job["request_id"] or NEW_REQUEST_ID
    return {"attempts": 0, "request_id": request_id} | _failure(wanted)


def _index(event: Any) -> int:
    """Return the input to which an event belongs; other values come last."""
    try:
        return int(next(iter(event.values()))["input_index"])
    except (AttributeError, LookupError, TypeError, ValueError, StopIteration):
        return 1 << 32


def _readable(difference: str, expected: list[Any], actual: list[Any]) -> str:
    """Return a difference of vectors as numbers instead of base64."""
    where, _, _ = difference.partition(":")
    if not where.endswith(".segment.vector"):
        return difference
    index = int(where[len("events[") :].partition("]")[0])
    one, other = (base64.b64decode(side[index]["segment"]["vector"]) for side in (expected, actual))
    if len(one) != len(other):
        return f"{where}: expected {len(one) // 4} values, got {len(other) / 4:g}"
    differ = [at for at in range(0, len(one), 4) if one[at : at + 4] != other[at : at + 4]]
    wanted, got = (struct.unpack_from("<f", side, differ[0])[0] for side in (one, other))
    return f"{where}: {len(differ)} values differ, first [{differ[0] // 4}]: expected {wanted!r}, got {got!r}"
