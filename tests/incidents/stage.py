"""All incidents at the same time: a server for each, and one Prometheus."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.monitoring.dashboard import FILE
from tests.incidents import dashboard
from tests.incidents.incidents import Incident
from tests.incidents.scene import Scene
from tests.incidents.timeline import Recorder, Timeline
from tests.support.prometheus import Prometheus

RULES = FILE.with_name("rules.yaml")
FACTOR = 20.0  # a production window of 5 minutes takes 15 s
MOST_SECONDS = 230.0


async def perform(incidents: Sequence[Incident], directory: Path, factor: float = FACTOR) -> list[Timeline]:
    """Let incidents happen at the same time; return what was seen of each.

    Args:
        incidents: the incidents.
        directory: for configurations, data and logs; must be empty.
        factor: by which durations of rules and intervals are divided.

    Raises:
        QueryError: a query of the dashboard or its annotations failed.
        TimeoutError: they took too long.
    """
    rules: dict[str, Any] = yaml.safe_load(RULES.read_text())
    async with asyncio.timeout(MOST_SECONDS), contextlib.AsyncExitStack() as stack:
        scenes = {
            one.name: await stack.enter_async_context(
                Scene.running(directory / one.name, one.options, dict(one.settings))
            )
            for one in incidents
        }
        targets = {name: scene.metrics_address for name, scene in scenes.items()}
        prometheus = await stack.enter_async_context(
            Prometheus.running(directory / "prometheus", targets, rules, factor)
        )
        ended = asyncio.Event()
        recorders = [Recorder(one, scenes[one.name], prometheus, ended) for one in incidents]
        async with asyncio.TaskGroup() as group:
            running = [
                (one, group.create_task(recorder.run())) for one, recorder in zip(incidents, recorders, strict=True)
            ]
            await asyncio.gather(*(task for one, task in running if one.party))
            ended.set()
        timelines = [recorder.timeline for recorder in recorders]
        for timeline in timelines:
            timeline.graphs = await dashboard.evaluated(
                prometheus, timeline.incident.name, timeline.start, timeline.end
            )
        for expression in dashboard.annotations():
            await prometheus.query_range(expression, timelines[0].start, time.time())
    return timelines
