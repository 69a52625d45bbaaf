"""Validated settings work: a server that starts with them sends its upstream exactly what they say."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter

from embedwire_server.config.setting_table import ALL, FILE_ONLY
from tests.support.messages import request, segments, text_input
from tests.support.server_command import run
from tests.support.serving import Scripted, Serve, Served
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

PATH_CHARACTERS = "/aZ9-._~!$&'()*+,;=:@"


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


async def embedded(served: Served) -> int:
    return len(segments([event async for event in served.stub.CreateEmbedding(request(text_input()), timeout=20)]))


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ("{}\n", "/embed"),
        ("{} ", "/embed"),
        ("{}\r\n", "/embed"),
        ("{}/\n", "/embed"),
        ("\t{}/v1.3\n\n", "/v1.3/embed"),
        ("{}/v1.3///", "/v1.3/embed"),
        ("{}//a//b", "//a//b/embed"),
        ("{}/...", "/.../embed"),
        *[("{}/a" + character + "b", f"/a{character}b/embed") for character in PATH_CHARACTERS],
    ],
)
async def test_requests_use_the_configured_path(serve: Serve, form: str, path: str) -> None:
    """The path of a request is the configured one, whatever characters it has and whatever surrounds it."""
    async with ScriptedHttpServer(answer).running() as upstream:
        async with serve(upstream=form.format(upstream.base_url)) as served:
            assert await embedded(served) == 1
        assert [visit.path for visit in upstream.visits] == [path]


@pytest.mark.parametrize("form", ["HTTP://{}", "hTTp://{}/", "http://{}"])
async def test_scheme_and_host_in_any_case(serve: Serve, form: str) -> None:
    """A scheme and a host in upper case are accepted."""
    async with ScriptedHttpServer(answer).running() as upstream:
        port = upstream.base_url.rpartition(":")[2]
        async with serve(upstream=form.format(f"LocalHost:{port}")) as served:
            assert await embedded(served) == 1


@pytest.mark.parametrize("key", ["tlk_1\n", " tlk_1", "tlk_1\r\n"])
async def test_the_key_is_sent_unchanged(scripted: Scripted, key: str) -> None:
    """The key that the upstream gets has no characters around it."""
    async with scripted(answer, api_key=key) as (served, upstream):
        assert await embedded(served) == 1
        assert upstream.visits[0].headers["x-api-key"] == "tlk_1"


def bounds(end: str) -> dict[str, Any]:
    """Each number at the end of its range, except where others limit it."""
    found: dict[str, Any] = {}
    for name, setting in ALL.items():
        if setting.name in FILE_ONLY:
            continue
        kind: Any = Annotated[setting.field.annotation, *(setting.field.metadata or [None])]
        field = TypeAdapter(kind).json_schema()
        numbers = [one for one in field.get("anyOf", [field]) if one.get("type") in {"integer", "number"}]
        limits = {key: value for one in numbers for key, value in one.items()}
        if numbers and name not in {"workers", "concurrency_max_buffered_bytes"}:
            least = limits.get("minimum", limits.get("exclusiveMinimum", 0) + 0.001)
            found[name] = limits["maximum"] if end == "most" else least
    return found


NO_STORE = {"quota_replicas": None}  # it has to be unset without a quota store


async def test_maximum_values(scripted: Scripted) -> None:
    """A server with the maximum of every number starts, answers, and stops."""
    settings = bounds("most") | {"shutdown_delay": 0, "concurrency_max_buffered_bytes": 1 << 53} | NO_STORE
    assert len(settings) > 20
    async with scripted(answer, **settings) as (served, _):
        assert await embedded(served) == 1


async def test_minimum_values(scripted: Scripted) -> None:
    """A server with the minimum of every number starts, and answers requests of that size."""
    sizes = {"request_limits_message_bytes": 1000, "request_limits_text_bytes": 100}
    times = {"server_write_stall_timeout": 5, "server_max_connection_age": 30}  # less depends on the machine's speed
    async with scripted(answer, **bounds("least") | sizes | times | NO_STORE) as (served, _):
        assert await embedded(served) == 1


def test_secret_values_are_not_quoted() -> None:
    """Values that can be secrets are in no message: a key as a flag, a URL with user info, a wrong value."""
    secret = "s3cr3t"
    for words in (
        ["config", "check", f"--api-key={secret}"],
        ["config", "check", "--upstream", f"http://user:{secret}@host"],
        ["serve", f"--upstrem=http://user:{secret}@host"],
        ["sandbox", f"--api-key={secret}"],
    ):
        ended = run(*words)
        assert (ended.returncode, secret in ended.stderr + ended.stdout) == (2, False)
        assert words[-1].partition("=")[0] in ended.stderr or "--upstream" in ended.stderr


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.parametrize(("listen", "is_warned"), [("127.0.0.1:0", False), ("0.0.0.0:0", True), ("[::]:0", True)])
def test_exposed_fault_control_is_a_warning(listen: str, *, is_warned: bool) -> None:
    """A stand-alone sandbox that listens on a non-loopback address warns that clients can script its faults."""
    if listen.startswith("[") and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    command = [sys.executable, "-m", "embedwire_server", "sandbox", "--listen", listen]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={}) as process:
        assert process.stdout is not None
        url = process.stdout.readline()
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert url.startswith("http://")
    assert ("script its faults" in log) == is_warned


async def test_embedded_sandbox_has_no_fault_control() -> None:
    """The faults of a sandbox inside a server cannot be scripted, also not by another process of this machine."""
    from embedwire_server.assembly import embedded_sandbox  # noqa: PLC0415

    async with embedded_sandbox() as url:
        for method in ("GET", "PUT", "DELETE"):
            port = int(url.split(":")[2].split("/")[0])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"{method} /sandbox/faults HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode())
            assert (await reader.readline()).split()[1] == b"404"
            writer.close()


def test_a_key_in_a_readable_file_is_a_warning(tmp_path: Any) -> None:
    """`config check` warns about a key in a file that other users can read, and passes."""
    file = tmp_path / "e.toml"
    file.write_text('upstream.api_key = "tlk_1"\n')
    os.chmod(file, 0o644)  # noqa: PTH101
    ended = run("config", "check", "--config", str(file))
    assert ended.returncode == 0
    assert f"every user of this machine can read the key in {file}" in ended.stderr
