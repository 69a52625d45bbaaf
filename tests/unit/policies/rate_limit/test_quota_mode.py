"""What shows whether servers share the quota: gauge, note of `/readyz` and the status page, log."""

import asyncio
import re

from structlog.testing import capture_logs

from embedwire_server.observability.http import probes
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.readiness import Check
from tests.support.virtual_time import in_virtual_time
from tests.unit.policies.rate_limit.shared_support import Server, running


@in_virtual_time
async def test_mode_is_shown() -> None:
    """The gauge and the note follow the mode, and the server stays ready."""
    server = Server(shares=4)
    server.readiness.succeed(Check.GRPC)
    async with running([server]):
        await asyncio.sleep(1)
        assert re.fullmatch(r"shared since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", server.readiness.notes["quota"])
        server.cut_off()
        await asyncio.sleep(1.1)
        assert not server.is_shared
        ready = probes.readyz(server.readiness)
        assert ready.status_code == 200
        text = bytes(ready.body).decode()
        assert re.search(r"^quota: divided among 4 servers since .* UTC: the store is unavailable$", text, re.MULTILINE)
        assert text.endswith("readyz check passed\n")
        server.reconnect()
        await asyncio.sleep(1.1)
        assert server.is_shared


def test_without_a_store() -> None:
    """A server without a store has no gauge of the mode."""
    assert Metrics("fake").registry.get_sample_value("embedwire_quota_shared") is None


@in_virtual_time
async def test_log_of_a_flapping_store() -> None:
    """Changes of the mode have at most one log line in ten seconds; the last mode is always logged."""
    server = Server(shares=4)
    with capture_logs() as logs:
        async with running([server]):
            server.cut_off()
            await asyncio.sleep(1.1)
            assert [line["log_level"] for line in logs] == ["warning"]
            for _ in range(3):
                server.reconnect()
                await asyncio.sleep(1.1)
                server.cut_off()
                await asyncio.sleep(1.1)
            server.reconnect()
            await asyncio.sleep(30)
            assert [line["log_level"] for line in logs] == ["warning", "info"]
            await asyncio.sleep(1000)
    assert len(logs) == 2
