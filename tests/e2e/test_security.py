"""The threats of SECURITY.md; those of TLS, tokens and reloading have test files of their own."""

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from structlog.testing import capture_logs

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.config import sources
from tests.support.messages import request, text_input, url_input
from tests.support.pki import Files, bearer, sha256
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, Serve, settings_of
from tests.support.tcp_server import tcp_server
from tests.support.upstreams import Visit, reply

REPOSITORY = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
OPEN = {"listen": "0.0.0.0:0", "upstream": f"http://{NO_SERVER}"}
TOKENS = {"tokens": ({"name": "a", "sha256": sha256("a")},)}


def test_every_threat_has_a_test() -> None:
    """Each row of the threat model names tests, and all of them exist."""
    text = (REPOSITORY / "SECURITY.md").read_text("utf-8").partition("## Threats")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        assert NAMED.search(row.split(" | ")[-1]), row
    for path, name in NAMED.findall(text):
        assert re.search(rf"^(async )?def {name}\(", (REPOSITORY / path).read_text("utf-8"), re.MULTILINE), (path, name)


def chosen(files: Files, *, tls: bool, mutual: bool, tokens: bool, insecure: bool) -> dict[str, Any]:
    """Settings of a server on a non-loopback address."""
    found: dict[str, Any] = dict(OPEN) | (files.settings if tls or mutual else {}) | (TOKENS if tokens else {})
    return found | ({"tls_client_ca": files.client_ca} if mutual else {}) | ({"insecure": True} if insecure else {})


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "example.org:443"])
def test_beyond_loopback_plain_text_without_tokens_is_refused(listen: str) -> None:
    """On a non-loopback address, without TLS and tokens, a server starts only with `insecure`; else an error."""
    settings: dict[str, Any] = OPEN | {"listen": listen}
    with pytest.raises(ValueError, match=r"--tls-certificate and --tls-key.*--insecure"):
        settings_of(**settings)
    assert settings_of(**settings | {"insecure": True}).server.listen == listen


PLAIN, OPEN_TLS = "tokens and content are sent unencrypted", "any client that can connect may use this server"


@pytest.mark.parametrize(
    ("parts", "warning"),
    [
        pytest.param({"tokens"}, PLAIN, id="plain, tokens"),
        pytest.param({"tls"}, OPEN_TLS, id="TLS"),
        pytest.param({"tls", "tokens"}, "", id="TLS, tokens"),
        pytest.param({"tls", "mutual"}, "", id="mutual TLS"),
        pytest.param({"tls", "mutual", "tokens"}, "", id="mutual TLS, tokens"),
        pytest.param({"insecure"}, "", id="insecure"),
        pytest.param({"insecure", "tokens"}, "", id="insecure, tokens"),
    ],
)
async def test_allowed_configurations_beyond_loopback(
    serve: Serve, tmp_path: Path, parts: set[str], warning: str
) -> None:
    """All other combinations start; those that are seldom intended are a warning."""
    files = Files(tmp_path, clients=trustme.CA())
    settings = chosen(files, **{part: part in parts for part in ("tls", "mutual", "tokens", "insecure")})
    if "mutual" not in parts:
        settings.pop("tls_client_ca", None)
    with capture_logs() as logs:
        async with serve(**settings):
            pass
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert [line.partition(":")[0] for line in warnings] == ([warning] if warning else [])


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "embedwire_server", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={}, check=False)


async def test_probes_of_a_server_with_tls(serve: Serve, tmp_path: Path) -> None:
    """`health` uses the health port; without one the error names the setting."""
    files = Files(tmp_path)
    words = ["--tls-certificate", str(files.certificate), "--tls-key", str(files.key)]
    async with serve(**files.settings, **TOKENS, health_listen="127.0.0.1:0") as served:
        asked = await asyncio.to_thread(run, "health", "--health-listen", served.app.health_target, *words)
    assert (asked.returncode, asked.stdout) == (0, "SERVING\n")
    without = await asyncio.to_thread(run, "health", *words)
    assert (without.returncode, "--health-listen" in without.stderr) == (2, True)


async def test_a_created_token_is_accepted(scripted: Scripted, tmp_path: Path) -> None:
    """`token NAME` prints a token and a configuration entry that accepts it by its hash alone."""
    made = await asyncio.to_thread(run, "token", "search-1")
    token, entry = made.stdout.strip(), made.stderr[made.stderr.index("[[tokens]]") :]
    assert token not in made.stderr
    config = tmp_path / "embedwire.toml"
    config.write_text(entry)
    tokens = sources.load({"config": str(config), "upstream": "sandbox"}).settings.tokens

    async def script(visit: Visit) -> None:
        await visit.answer(reply())

    async with scripted(script, tokens=tokens) as (served, _):
        for shown, code in ((token, "OK"), (f"{token}x", "UNAUTHENTICATED"), (tokens[0].sha256[0], "UNAUTHENTICATED")):
            call = served.stub.CreateEmbeddingUnary(TEXT, metadata=bearer(shown), timeout=20)
            assert (await call.code()).name == code
    assert (await asyncio.to_thread(run, "token", "no name")).returncode == 2


@contextlib.asynccontextmanager
async def trap() -> AsyncGenerator[tuple[str, list[object]]]:
    """An address that must not be connected to, and the list of connections that were made."""
    visitors: list[object] = []

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append(writer.get_extra_info("peername"))
        writer.close()

    async with tcp_server(connected) as port:
        yield f"http://127.0.0.1:{port}/a.png", visitors


async def test_no_url_is_ever_fetched(scripted: Scripted) -> None:
    """A caller's URL is passed to the upstream unchanged, and a redirect of the upstream is not followed."""
    async with trap() as (url, visitors):

        async def script(visit: Visit) -> None:
            if b"image" in visit.body:
                await visit.answer(reply("image_embedding"))
            else:
                await visit.answer(b"", 307, Location=url)

        async with scripted(script, api_key="of-the-server") as (served, upstream):
            events = [
                event async for event in served.stub.CreateEmbedding(request(url_input("image", url)), timeout=20)
            ]
            redirected = served.stub.CreateEmbeddingUnary(TEXT, timeout=20)
            assert await redirected.code() is not grpc.StatusCode.OK

    assert len(events) == 2
    assert url.encode() in upstream.visits[0].body
    assert not visitors


async def test_secrets_are_not_in_command_lines() -> None:
    """The list of processes shows no key: no flag takes one, and workers get it through a pipe."""
    refused = await asyncio.to_thread(run, "serve", "--api-key", "tlk_secret")
    assert refused.returncode == 2
    assert "tlk_secret" not in refused.stderr
