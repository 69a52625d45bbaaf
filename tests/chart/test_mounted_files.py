"""Changes of mounted files are in force without a restart, with the layout and the replacement of the kubelet."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import trustme

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.chart.mounting import Mounts
from tests.chart.rendering import CASES, SECRET, configuration, objects
from tests.support.messages import text_input
from tests.support.pki import bearer, sha256
from tests.support.process import ServerProcess
from tests.support.serving import until

OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
RELOADED, RESTART = "the configuration was reloaded", "changed settings need a restart"


def values(*callers: str, **config: Any) -> dict[str, Any]:
    """Return values with TLS and a token for each caller, whose token is its name."""
    tokens = [{"name": name, "sha256": sha256(name)} for name in callers]
    return CASES["tokens"] | {"config": {"tokens": tokens, **config}}


@contextlib.asynccontextmanager
async def serving(mounts: Mounts) -> AsyncGenerator[ServerProcess]:
    """Start a server with the variables of the pod, on free ports and on the sandbox."""
    environment = mounts.environment
    async with ServerProcess.running(environment=environment, health_listen="127.0.0.1:0") as server:
        yield server


async def code(server: ServerProcess, authority: trustme.CA, token: str) -> grpc.StatusCode:
    """Return the status code of a call on its own connection, which trusts one authority."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    async with grpc.aio.secure_channel(server.target, credentials, options) as channel:
        stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        found: grpc.StatusCode = await stub.CreateEmbeddingUnary(TEXT, metadata=bearer(token), timeout=20).code()
        return found


def lines(server: ServerProcess, text: str) -> list[str]:
    return [line for line in server.log if text in line]


async def test_tokens_are_changed(tmp_path: Path) -> None:
    """After an upgrade with other tokens, the mounted file is replaced: the new token is valid, the old one is not."""
    authority = trustme.CA()
    mounts = Mounts(tmp_path, objects(values("first")))
    mounts.write_certificate(authority)
    async with serving(mounts) as server:
        assert [await code(server, authority, name) for name in ("first", "second")] == [OK, UNAUTHENTICATED]
        mounts.write_configuration(configuration(objects(values("second"))))
        await until(lambda: bool(lines(server, RELOADED)))
        assert [await code(server, authority, name) for name in ("first", "second")] == [UNAUTHENTICATED, OK]
        assert lines(server, RESTART) == []


async def test_certificates_are_renewed(tmp_path: Path) -> None:
    """A renewed certificate of the mounted Secret is used for the next connection."""
    old, new = trustme.CA(), trustme.CA()
    mounts = Mounts(tmp_path, objects(values("first")))
    mounts.write_certificate(old)
    async with serving(mounts) as server:
        assert await code(server, old, "first") is OK
        mounts.write_certificate(new)
        assert await code(server, new, "first") is OK
        assert await code(server, old, "first") is grpc.StatusCode.UNAVAILABLE


async def test_an_invalid_file_changes_nothing(tmp_path: Path) -> None:
    """A file that the server rejects, and one without tokens, leave the old configuration in force."""
    authority = trustme.CA()
    mounts = Mounts(tmp_path, objects(values("first")))
    mounts.write_certificate(authority)
    async with serving(mounts) as server:
        for text in ('log.level = "loud"', configuration(objects(SECRET | {"allowInsecure": True}))):
            before = len(lines(server, "the old one stays in use"))
            mounts.write_configuration(text)
            await until(lambda: len(lines(server, "the old one stays in use")) > before)  # noqa: B023 - awaited here
        assert await code(server, authority, "first") is OK


async def test_a_change_of_the_key_in_the_file_is_reported(tmp_path: Path) -> None:
    """The API key is not reloaded from a file either: the log names it among the settings that need a restart."""
    mounts = Mounts(tmp_path, objects(SECRET | {"allowInsecure": True}))
    environment = {name: text for name, text in mounts.environment.items() if name != "TWELVELABS_API_KEY"}
    mounts.write_configuration('upstream.api_key = "tlk_old"\n')
    async with ServerProcess.running(environment=environment, health_listen="127.0.0.1:0") as server:
        mounts.write_configuration('upstream.api_key = "tlk_new"\n')
        await until(lambda: bool(lines(server, RESTART)))
        assert "upstream.api_key" in lines(server, RESTART)[0]
        assert lines(server, "tlk_") == []
