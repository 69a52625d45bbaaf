"""One incident, from normal traffic to the end of its alerts."""

import asyncio
import dataclasses
import time
from collections.abc import Callable

from tests.incidents import status_page
from tests.incidents.dashboard import Graph
from tests.incidents.incidents import Incident
from tests.incidents.scene import Scene
from tests.support.prometheus import Prometheus

# Seconds of production; divided by the factor of Prometheus.
NORMAL = 240.0  # before the fault
CALLERS = 2  # of normal traffic
LEAST = 300.0  # of the fault, so that panels show it
AFTER = 60.0  # of the fault after its alerts have fired
# Seconds of this machine.
MOST_UNTIL_FIRING = 90.0
MOST_UNTIL_RESOLVED = 75.0


@dataclasses.dataclass(frozen=True)
class Alert:
    """An alert of an incident. Times are seconds after the beginning of the fault, on this machine."""

    name: str
    severity: str
    party: str
    fired: float
    resolved: float | None


@dataclasses.dataclass
class Timeline:
    """What happened in an incident. Times are seconds since the epoch.

    Attributes:
        incident: the incident.
        start: of normal traffic.
        fault: beginning of the fault.
        removed: end of the fault.
        end: of the observation.
        alerts: alerts that fired, in this order.
        status_page: lines that the status page had at the end of the fault, and not before.
        codes: calls by status code.
        graphs: the panels of the dashboard.
    """

    incident: Incident
    start: float
    fault: float = 0.0
    removed: float = 0.0
    end: float = 0.0
    alerts: list[Alert] = dataclasses.field(default_factory=list)
    status_page: list[str] = dataclasses.field(default_factory=list)
    codes: dict[str, int] = dataclasses.field(default_factory=dict)
    graphs: list[Graph] = dataclasses.field(default_factory=list)

    @property
    def fired(self) -> set[str]:
        """Names of the alerts that fired."""
        return {alert.name for alert in self.alerts}


class Recorder:
    """Records one incident.

    Args:
        incident: the incident.
        scene: its server.
        prometheus: scrapes the server as the job with the incident's name.
        others_ended: set when all incidents with a fault have ended; one without a fault lasts until then.
    """

    def __init__(self, incident: Incident, scene: Scene, prometheus: Prometheus, others_ended: asyncio.Event) -> None:
        self._incident = incident
        self._others_ended = others_ended
        self._scene = scene
        self._prometheus = prometheus
        self.timeline = Timeline(incident, time.time())

    async def run(self) -> None:
        """Let the incident happen; return when its alerts have ended, or after a limit of time."""
        timeline, scaled = self.timeline, self._prometheus.factor
        async with self._scene.traffic(CALLERS, self._incident.pause, self._incident.deadline):
            await asyncio.sleep(NORMAL / scaled)
            page = await status_page.read(self._scene.metrics_address)
            timeline.fault = time.time()
            async with self._incident.fault(self._scene):
                if not self._incident.party:
                    await self._others_ended.wait()
                await self._until(lambda firing: self._incident.alerts <= firing, MOST_UNTIL_FIRING)
                least = timeline.fault + LEAST / scaled
                await asyncio.sleep(max(AFTER / scaled, least - time.time()))
                now = await status_page.read(self._scene.metrics_address)
                timeline.status_page = status_page.news(page, now)
            timeline.removed = time.time()
            await self._until(lambda firing: not firing, MOST_UNTIL_RESOLVED)
        timeline.end = time.time()
        timeline.codes = dict(self._scene.codes)
        timeline.alerts = await self._alerts()

    async def _until(self, is_reached: Callable[[set[str]], bool], seconds: float) -> None:
        """Wait for a state of the alerts; not longer than this."""
        end = time.time() + seconds
        while not is_reached(await self._firing()) and time.time() < end:
            await asyncio.sleep(self._prometheus.interval)

    async def _firing(self) -> set[str]:
        found = await self._prometheus.query(self._query)
        return {series.labels["alertname"] for series in found}

    @property
    def _query(self) -> str:
        job = self._incident.name if self._incident.party else f"{self._incident.name}|"  # or of no job
        return f'ALERTS{{alertstate="firing", job=~"{job}"}}'

    async def _alerts(self) -> list[Alert]:
        """Return when each alert fired first, and when it ended."""
        timeline, still = self.timeline, await self._firing()
        times: dict[tuple[str, str, str], list[float]] = {}
        for series in await self._prometheus.query_range(self._query, timeline.start, timeline.end):
            key = (series.labels["alertname"], series.labels["severity"], series.labels.get("party", ""))
            times.setdefault(key, []).extend(at - timeline.fault for at, _ in series.points)
        found = [Alert(*key, min(at), None if key[0] in still else max(at)) for key, at in times.items()]
        return sorted(found, key=lambda alert: alert.fired)
