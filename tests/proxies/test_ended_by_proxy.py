"""Calls that the proxy itself ends have no failure of ours, whatever their status code is."""

from collections.abc import Mapping
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.proxies.calls import SECONDS, failed, failure_of, text, upload
from tests.proxies.stage import NAMES, Stage
from tests.support.messages import text_input
from tests.support.ports import NO_SERVER
from tests.support.process import ServerProcess
from tests.support.upstreams import ScriptedHttpServer

INTERNAL, UNAVAILABLE, UNKNOWN = grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN
# The time limit of each proxy, as it is and as short as these tests need it.
SHORT: Mapping[str, Mapping[str, str]] = {
    "nginx": {"grpc_read_timeout 3610s": "grpc_read_timeout 200ms"},
    "haproxy": {"timeout server 3610s": "timeout server 200ms"},
    "envoy": {"timeout: 0s": "timeout: 0.2s"},
}


@pytest.mark.parametrize("name", NAMES)
async def test_a_call_above_the_time_limit_of_a_proxy_has_no_failure(
    stage: Stage, silent_replica: ServerProcess, name: str, tmp_path: Path
) -> None:
    """The status is UNAVAILABLE, although a replica may have worked on the call."""
    async with stage.behind(name, tmp_path, SHORT[name], [silent_replica.target] * 2) as proxy:
        error = await failed(proxy.stub.CreateEmbeddingUnary(text(), timeout=SECONDS))

    assert (error.code(), failure_of(error)) == (UNAVAILABLE, None)


@pytest.mark.parametrize("name", NAMES)
async def test_a_proxy_without_replicas_has_no_failure(stage: Stage, name: str, tmp_path: Path) -> None:
    """The status is UNAVAILABLE if no replica can be reached."""
    async with stage.behind(name, tmp_path, replicas=[NO_SERVER] * 2) as proxy:
        error = await failed(proxy.stub.CreateEmbeddingUnary(text(), timeout=SECONDS))

    assert (error.code(), failure_of(error)) == (UNAVAILABLE, None)


async def test_a_request_above_the_size_limit_of_nginx_has_no_failure(
    stage: Stage, upstream: ScriptedHttpServer, tmp_path: Path
) -> None:
    """The HTTP status 413 is UNKNOWN for gRPC."""
    changes = {"client_max_body_size 0": "client_max_body_size 1k"}
    async with stage.behind("nginx", tmp_path, changes) as proxy:
        error = await failed(proxy.stub.CreateEmbeddingUnary(text(text_input("a" * 2000)), timeout=SECONDS))

    assert (error.code(), failure_of(error)) == (UNKNOWN, None)
    assert upstream.visits == []


async def test_an_upload_above_the_time_limit_of_nginx_has_no_failure(
    stage: Stage, silent_replica: ServerProcess, tmp_path: Path
) -> None:
    """The server pauses an upload of many files while the upstream is slow; the caller cannot help it."""
    changes = {"client_body_timeout 3610s": "client_body_timeout 200ms"}
    async with stage.behind("nginx", tmp_path, changes, [silent_replica.target] * 2) as proxy:
        messages = upload(bytes(4 << 20), files=40)
        error = await failed(proxy.stub.CreateEmbeddingFromUpload(messages, timeout=SECONDS))

    assert (error.code(), failure_of(error)) == (INTERNAL, None)


async def test_a_call_above_the_number_of_calls_of_envoy_has_no_failure(stage: Stage, tmp_path: Path) -> None:
    """Envoy refuses a call while there are max_requests; a Watch counts."""
    async with stage.behind("envoy", tmp_path, {"max_requests: 10000": "max_requests: 1"}) as proxy:
        watch = proxy.health.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        await anext(aiter(watch))
        error = await failed(proxy.stub.CreateEmbeddingUnary(text(), timeout=SECONDS))
        watch.cancel()

    assert (error.code(), failure_of(error)) == (UNAVAILABLE, None)


@pytest.mark.parametrize(("name", "code"), [("haproxy", UNAVAILABLE), ("envoy", INTERNAL)])
async def test_too_many_fields_of_metadata_have_no_failure(
    stage: Stage, upstream: ScriptedHttpServer, name: str, code: grpc.StatusCode, tmp_path: Path
) -> None:
    """HAProxy and Envoy take about 100 fields by default, which is fewer than the server takes."""
    metadata = [(f"x-{number}", "a") for number in range(110)]
    async with stage.behind(name, tmp_path) as proxy:
        error = await failed(proxy.stub.CreateEmbeddingUnary(text(), timeout=SECONDS, metadata=metadata))

    assert (error.code(), failure_of(error)) == (code, None)
    assert upstream.visits == []
