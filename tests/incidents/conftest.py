"""The incidents happen once, for all tests of this package."""

import asyncio
from collections.abc import Mapping

import pytest

from tests.incidents.incidents import INCIDENTS
from tests.incidents.stage import perform
from tests.incidents.timeline import Timeline


@pytest.fixture(scope="session")
def timelines(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Timeline]:
    """Return what was seen of each incident, by its name."""
    found = asyncio.run(perform(INCIDENTS, tmp_path_factory.mktemp("incidents")))
    return {timeline.incident.name: timeline for timeline in found}
