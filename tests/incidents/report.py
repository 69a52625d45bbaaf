"""The output of `make incident`, and its file for the plots."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from tests.incidents import changes
from tests.incidents.timeline import Alert, Timeline

_HEAD = ("incident", "alert", "severity", "party", "fires after", "in production", "ends after the fault")


def details(timeline: Timeline, factor: float) -> Iterator[str]:
    """Yield the lines of one incident: its alerts, the status page, the dashboard."""
    yield f"{timeline.incident.name}: {timeline.incident.sentence}"
    alerts = [_alert(timeline, alert, factor) for alert in timeline.alerts]
    yield from _block("alerts", alerts or ["none"])
    yield from _block("status page", timeline.status_page or ["nothing new"])
    yield from _block("dashboard", [one.text for one in changes.clear(timeline)] or ["no change"])
    calls = ", ".join(f"{count} {code}" for code, count in sorted(timeline.codes.items()))
    yield from _block("calls", [calls])


def _alert(timeline: Timeline, alert: Alert, factor: float) -> str:
    return (
        f"{alert.name} ({alert.severity}, {alert.party}) after {alert.fired:.1f} s, in production "
        f"{_production(alert.fired, factor)}; {_ending(timeline, alert, factor)}"
    )


def _ending(timeline: Timeline, alert: Alert, factor: float) -> str:
    after = _after_fault(timeline, alert)
    return "did not end" if after is None else f"ended {_production(after, factor)} after the fault"


def _block(name: str, lines: Sequence[str]) -> Iterator[str]:
    for index, line in enumerate(lines):
        yield f"  {'' if index else name:12} {line}"


def _production(seconds: float, factor: float) -> str:
    return f"{seconds * factor / 60:.1f} min"


def rows(timelines: Sequence[Timeline], factor: float) -> list[tuple[str, ...]]:
    """Return the table: a row for each alert, and for each incident without one."""
    found: list[tuple[str, ...]] = []
    for timeline in timelines:
        found += [_row(timeline, alert, factor) for alert in timeline.alerts]
        if not timeline.alerts:
            found.append((timeline.incident.name, "none", *[""] * (len(_HEAD) - 2)))
    return found


def _row(timeline: Timeline, alert: Alert, factor: float) -> tuple[str, ...]:
    fires = (f"{alert.fired:.1f} s", _production(alert.fired, factor))
    after = _after_fault(timeline, alert)
    ends = "did not end" if after is None else _production(after, factor)
    return (timeline.incident.name, alert.name, alert.severity, alert.party, *fires, ends)


def _after_fault(timeline: Timeline, alert: Alert) -> float | None:
    """Return how many seconds after the fault an alert ended; None if it did not."""
    return None if alert.resolved is None else max(0.0, alert.resolved - (timeline.removed - timeline.fault))


def table(timelines: Sequence[Timeline], factor: float) -> Iterator[str]:
    """Yield the lines of the table, in columns."""
    lines = [_HEAD, *rows(timelines, factor)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    yield from (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def record(timelines: Sequence[Timeline], factor: float) -> dict[str, Any]:
    """Return everything as JSON. Times are seconds after the beginning of the fault, on this machine."""
    return {"factor": factor, "incidents": [_record(timeline) for timeline in timelines]}


def _record(timeline: Timeline) -> dict[str, Any]:
    zero = timeline.fault
    graphs = [
        {
            "title": graph.title,
            "unit": graph.unit,
            "lines": {line.legend: [(round(at - zero, 2), value) for at, value in line.points] for line in graph.lines},
        }
        for graph in timeline.graphs
    ]
    return {
        "name": timeline.incident.name,
        "sentence": timeline.incident.sentence,
        "start": timeline.start - zero,
        "removed": timeline.removed - zero,
        "end": timeline.end - zero,
        "codes": timeline.codes,
        "alerts": [dataclasses.asdict(alert) for alert in timeline.alerts],
        "status_page": timeline.status_page,
        "dashboard": [{**dataclasses.asdict(one), "text": one.text} for one in changes.clear(timeline)],
        "graphs": graphs,
    }
