"""The server's own resources: the error if one is exhausted, and readiness meanwhile."""

import asyncio
import re
import resource
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server import cli
from embedwire_server.app import App
from embedwire_server.core.failure_causes import Cause
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.resource_monitor import GOOD_CHECKS, ResourceMonitor
from embedwire_server.rpc.health import SERVICE
from tests.e2e.test_upload import chunks, first, send
from tests.support.messages import request, results, text_input, upload_input
from tests.support.process import ServerProcess
from tests.support.serving import Serve, settings_of, until
from tests.support.upstreams import Visit, reply

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def status(channel: grpc.aio.Channel, service: str = SERVICE) -> int:
    asked = health_pb2.HealthCheckRequest(service=service)
    return int((await health_pb2_grpc.HealthStub(channel).Check(asked, timeout=60)).status)


async def becomes(channel: grpc.aio.Channel, wanted: int) -> None:
    async with asyncio.timeout(20):
        while await status(channel) != wanted:
            await asyncio.sleep(0.05)


@pytest.mark.asyncio
async def test_without_file_descriptors() -> None:
    """Without free file descriptors inputs fail with a server reason, and the server is not ready meanwhile."""
    is_over = asyncio.Event()

    async def script(visit: Visit) -> None:
        await is_over.wait()
        await visit.answer(reply(), Connection="close")

    async with ServerProcess.running(script, files=64, retry_max_attempts=1) as server:
        assert any("too few file descriptors" in line and "limit=64" in line for line in server.log)
        await becomes(server.channel, SERVING)
        asked = request(*(text_input() for _ in range(64)))
        calls = [asyncio.create_task(_embedded(server, asked)) for _ in range(4)]
        await becomes(server.channel, NOT_SERVING)
        assert await status(server.channel, "") == SERVING
        is_over.set()
        failures = [result.failure for call in calls for result in (await call).values() if result.HasField("failure")]
        assert {(failure.cause, failure.code) for failure in failures} == {("file_descriptors", 13)}
        await becomes(server.channel, SERVING)
        await until(lambda: 'embedwire_not_ready{cause="file_descriptors"} 0.0' in server.metrics())
        counted = re.search(r'connection_failures_total{cause="file_descriptors"} (\d+)', server.metrics())
        assert counted is not None
        assert int(counted[1]) == len(failures) > 0


async def _embedded(server: ServerProcess, asked: pb.CreateEmbeddingRequest) -> dict[int, pb.InputResult]:
    return results([event async for event in server.stub.CreateEmbedding(asked, timeout=30)])


@pytest.mark.asyncio
async def test_a_missing_spool_directory(serve: Serve, tmp_path: Path) -> None:
    """Without the spool directory uploads fail with a server reason, and the server is not ready until it is back."""
    spool = tmp_path / "spool"
    spool.mkdir()
    async with serve(uploads_spool_dir=spool) as served:
        await becomes(served.channel, SERVING)
        spool.rmdir()
        events = await send(served, first(upload_input("audio"), text_input()), *chunks(0, bytes(3 << 20), 1 << 20))
        failure = results(events)[0].failure
        assert (failure.cause, failure.code) == ("spool_unavailable", 13)
        assert str(spool) not in failure.message
        await becomes(served.channel, NOT_SERVING)
        assert served.metric("embedwire_not_ready", cause="spool_unavailable") == 1
        assert await status(served.channel, "") == SERVING
        spool.mkdir()
        await becomes(served.channel, SERVING)
        assert served.metric("embedwire_not_ready") == 0


@pytest.mark.asyncio
async def test_a_spool_that_cannot_be_written_prevents_the_start(tmp_path: Path) -> None:
    """The server does not start if the directory was deleted after the settings were read; it names the setting."""
    (spool := tmp_path / "spool").mkdir()
    addresses = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", "upstream": "sandbox"}
    settings = settings_of(**addresses, uploads_spool_dir=spool)
    spool.rmdir()
    with pytest.raises(OSError, match=rf"--uploads-spool-dir: {spool} cannot be written: \w+"):
        async with App(settings):
            pass


@pytest.mark.asyncio
async def test_a_server_starts_without_its_upstream(serve: Serve) -> None:
    """An unreachable upstream does not prevent the server from starting, or from being ready."""
    async with serve(upstream="https://nowhere.invalid") as served:
        assert await status(served.channel) == SERVING


class Bench:
    """A monitor with a spool that a test can remove, checked on demand."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.reported: list[set[Cause]] = []
        self.monitor = ResourceMonitor(spool, Metrics("custom"), self._changed)

    async def _changed(self, lacking: frozenset[Cause]) -> None:
        self.reported.append(set(lacking))


@pytest.mark.asyncio
async def test_readiness_does_not_flap(tmp_path: Path) -> None:
    """After a shortage the server is ready only when several checks in a row were good."""
    spool = tmp_path / "spool"
    spool.mkdir()
    bench = Bench(spool)
    await bench.monitor.start()
    for exists in [False, *[True] * (GOOD_CHECKS - 1)] * 3:
        if exists != spool.exists():
            (spool.mkdir if exists else spool.rmdir)()
        await bench.monitor.check()
    assert bench.reported == [{Cause.SPOOL_UNAVAILABLE}]
    for _ in range(GOOD_CHECKS):
        await bench.monitor.check()
    assert bench.reported == [{Cause.SPOOL_UNAVAILABLE}, set()]


@pytest.mark.asyncio
async def test_a_server_starts_unready_on_a_full_disk(tmp_path: Path) -> None:
    """A full disk does not prevent the start; the server is ready when there is space."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    bench = Bench(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        await bench.monitor.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not bench.monitor.is_ready
    assert bench.monitor.lacking == {Cause.DISK_FULL}
    for _ in range(GOOD_CHECKS):
        await bench.monitor.check()
    assert bench.reported == [set()]


@pytest.mark.asyncio
async def test_the_soft_limit_is_raised_to_what_is_needed() -> None:
    """A soft limit below what the configuration needs is raised to that, or to the hard limit if that is lower."""
    async with ServerProcess.running(files=256, is_soft=True, concurrency_inputs_per_modality=64) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        soft = re.search(r"Max open files\s+(\d+)", limits)
        assert soft is not None
        assert 256 < int(soft[1]) < 1024
        assert not any("too few file descriptors" in line for line in server.log)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("SSL_CERT_FILE", None, "No such file or directory"),
        ("SSL_CERT_FILE", b"", "holds no certificates in PEM form"),
        ("SSL_CERT_FILE", b"no certificate", "holds no certificates in PEM form"),
        ("SSL_CERT_DIR", None, "No such file or directory"),
        ("SSL_CERT_DIR", b"a file", "Not a directory"),
    ],
)
def test_unusable_authorities_are_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    words: str,
) -> None:
    """Certificate files that OpenSSL would silently ignore are a warning at the start."""
    path = tmp_path / "ca"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(name, str(path))
    assert cli.main(["config", "check"]) == 0
    assert f"warning: {name}: cannot be used: {words}" in capsys.readouterr().err
