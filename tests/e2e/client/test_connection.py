"""Connections of the client: TLS, credentials, and servers that start later."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from embedwire import TLS, AsyncClient, Audio, Client, DeadlineExceededError, Text, TransportError
from tests.e2e.client.callers import PICTURE, Connect, InTheLoop, InThreads
from tests.e2e.client.proxies import Authority
from tests.e2e.client.services import Recorder
from tests.support.ports import NO_SERVER, held_port
from tests.support.serving import Serve, Served
from tests.support.tcp_server import tcp_server

FAR = "embeddings.example.com:50051"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def test_tls_through_a_proxy(connect: Connect, served: Served, authority: Authority) -> None:
    """Every kind of call works over TLS with custom root certificates."""
    tls = TLS(authority.roots)
    async with (
        authority.proxy(served.app.target, "127.0.0.1") as port,
        connect(f"127.0.0.1:{port}", tls=tls, token="secret") as client,
    ):
        streamed = await client.embed("marengo3.0", [Text("a"), Text("b")], timeout=10)
        unary = await client.embed("marengo3.0", Text("a"), timeout=10)
        models = await client.models(timeout=10)
        uploaded = await client.embed("marengo3.0", [Text("a"), Audio(data=bytes(3 << 20))], timeout=20)

    assert streamed[0].vector.tolist() == unary.vector.tolist() == uploaded[0].vector.tolist()
    assert uploaded[1].failure is not None
    assert uploaded[1].failure.reason == "INPUT_REJECTED"
    assert models


@pytest.mark.parametrize("tls", [TLS(Authority().roots), True], ids=["other roots", "roots of gRPC"])
async def test_an_untrusted_certificate_is_refused(
    connect: Connect, served: Served, authority: Authority, *, tls: TLS | bool
) -> None:
    """A certificate from an authority that is not trusted is TransportError."""
    async with (
        authority.proxy(served.app.target, "127.0.0.1") as port,
        connect(f"127.0.0.1:{port}", tls=tls) as client,
    ):
        with pytest.raises(TransportError):
            await client.embed("marengo3.0", Text("a"), timeout=10)


async def test_no_fallback_to_plain_text(connect: Connect, served: Served, authority: Authority) -> None:
    """TLS towards a plain server, and plaintext towards a TLS one, are TransportError."""
    async with connect(served.app.target, tls=TLS(authority.roots)) as client:
        with pytest.raises(TransportError):
            await client.embed("marengo3.0", Text("a"), timeout=10)
    async with authority.proxy(served.app.target, "127.0.0.1") as port, connect(f"127.0.0.1:{port}") as client:
        with pytest.raises(TransportError):
            await client.embed("marengo3.0", Text("a"), timeout=10)


async def test_the_host_name_of_the_certificate_is_verified(
    connect: Connect, served: Served, authority: Authority
) -> None:
    """A certificate for another name is refused, unless `server_name` expects that name."""
    async with authority.proxy(served.app.target, "embeddings.internal") as port:
        target = f"127.0.0.1:{port}"
        async with connect(target, tls=TLS(authority.roots)) as client:
            with pytest.raises(TransportError):
                await client.embed("marengo3.0", Text("a"), timeout=10)
        async with connect(target, tls=TLS(authority.roots, server_name="embeddings.internal")) as client:
            assert (await client.embed("marengo3.0", Text("a"), timeout=10)).failure is None
        async with connect(target, tls=TLS(authority.roots, server_name="other.internal")) as client:
            with pytest.raises(TransportError):
                await client.embed("marengo3.0", Text("a"), timeout=10)


async def test_mutual_tls(connect: Connect, served: Served, authority: Authority) -> None:
    """A server that requires client certificates accepts one of its authority, and rejects none and any other."""
    async with authority.proxy(served.app.target, "127.0.0.1", wants_client=True) as port:
        target = f"127.0.0.1:{port}"
        async with connect(target, tls=authority.client()) as client:
            assert (await client.embed("marengo3.0", Text("a"), timeout=10)).failure is None
        other = Authority().client()
        for tls in (TLS(authority.roots), TLS(authority.roots, other.certificate_chain, other.private_key)):
            async with connect(target, tls=tls) as client:
                with pytest.raises(TransportError):
                    await client.embed("marengo3.0", Text("a"), timeout=10)


def test_a_private_key_is_not_in_repr(authority: Authority) -> None:
    """repr() of TLS holds no private key."""
    tls = authority.client()
    assert tls.private_key is not None
    assert "PRIVATE" not in repr(tls)
    assert tls.private_key.decode().splitlines()[1] not in repr(tls)


async def test_credentials_are_sent(connect: Connect) -> None:
    """Token and upstream key are in the metadata of every kind of call, and absent where none is given."""
    recorder = Recorder()
    async with recorder.serving() as target:
        for options in ({"token": "t0k~en", "upstream_api_key": "tlk_KEY"}, {}):
            async with connect(target, **options) as client:
                await client.embed("m", Text("a"), timeout=10)
                await client.embed("m", PICTURE, timeout=10)
                await client.embed("m", Audio(chunks=[b"a"]), timeout=10)
                await client.models(timeout=10)

    assert len(recorder.metadata) == 8
    for metadata in recorder.metadata[:4]:
        assert metadata["authorization"] == "Bearer t0k~en"
        assert metadata["x-upstream-api-key"] == "tlk_KEY"
    for metadata in recorder.metadata[4:]:
        assert not {"authorization", "x-upstream-api-key"} & set(metadata)
    assert all(metadata["user-agent"].startswith("embedwire-python/") for metadata in recorder.metadata)


CLIENTS = pytest.mark.parametrize("kind", [Client, AsyncClient])
SECRETS = pytest.mark.parametrize("name", ["token", "upstream_api_key"])


@CLIENTS
@SECRETS
def test_credentials_to_another_machine_require_tls(kind: type[Any], name: str) -> None:
    """A credential without TLS to another machine is a ValueError that names it and not its value."""
    with pytest.raises(ValueError, match=f"{name}: would be sent in plaintext") as caught:
        kind(FAR, **{name: "CANARY"})
    assert "CANARY" not in str(caught.value)
    assert kind(FAR)
    assert kind(FAR, tls=True, **{name: "CANARY"})


@CLIENTS
@SECRETS
@pytest.mark.parametrize("wrong", ["", " ", "a b", "a\n", "a\r\nx-other: b", "tab\t", "ü", "\x7f", "\0"])
def test_invalid_characters_in_credentials(kind: type[Any], name: str, wrong: str) -> None:
    """A credential with characters other than visible ASCII is a ValueError that names it and does not quote it."""
    with pytest.raises(ValueError, match=name) as caught:
        kind(NO_SERVER, **{name: wrong})
    assert not wrong.strip() or wrong not in str(caught.value)


async def test_a_local_socket(connect: Connect, tmp_path: Path) -> None:
    """A Unix socket is a target like any other, also with a token."""
    address = f"unix:{tmp_path}/socket"
    async with Recorder().serving(address) as target, connect(target, token="secret") as client:
        assert (await client.embed("m", Text("a"), timeout=10)).failure is None


async def test_a_client_waits_for_a_server_that_starts_later(connect: Connect, serve: Serve) -> None:
    """With wait_for_ready a call is answered by a server that starts after it."""
    with held_port() as port:
        target = f"127.0.0.1:{port}"
        async with connect(target, wait_for_ready=True) as client, connect(target) as impatient:
            waiting = [
                asyncio.create_task(client.embed("marengo3.0", [Text("a"), Text("b")], timeout=30)),
                asyncio.create_task(client.embed("marengo3.0", Text("a"), timeout=30)),
                asyncio.create_task(client.embed("marengo3.0", [Text("a"), Audio(chunks=[b"no audio"])], timeout=30)),
                asyncio.create_task(client.models(timeout=30)),
            ]
            with pytest.raises(TransportError):
                await impatient.embed("marengo3.0", Text("a"), timeout=10)
            assert not any(task.done() for task in waiting)
            async with serve(listen=target):
                found = await asyncio.wait_for(asyncio.gather(*waiting), 30)

    assert found[0][0].vector.tolist() == found[1].vector.tolist()
    assert len(found[3]) == 3


async def test_waiting_ends_with_the_deadline(connect: Connect) -> None:
    """With wait_for_ready and no server, the timeout ends the call as DeadlineExceededError."""
    with held_port() as port:
        async with connect(f"127.0.0.1:{port}", wait_for_ready=True, timeout=0.3) as client:
            calls = client.embed("m", Text("a")), client.models(), client.embed("m", Audio(chunks=[b"a"]))
            found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
    assert [type(error) for error in found] == [DeadlineExceededError] * 3


@pytest.mark.parametrize("kind", [InThreads, InTheLoop])
async def test_the_default_target_is_loopback(kind: type[InThreads] | type[InTheLoop]) -> None:
    """The default target is the server's default listen address, for which a token is allowed in plaintext."""
    client: Any = kind(token="secret")
    assert vars(client.client)["_connection"].target == "127.0.0.1:50051"
    await client.close()


async def test_credentials_do_not_go_to_a_proxy(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loopback target is called directly, also if an environment variable names an HTTP proxy."""
    visits = 0

    async def connected(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1

    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with tcp_server(connected) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy}")
        async with Recorder().serving() as target, connect(target, token="secret") as client:
            assert (await client.embed("m", Text("a"), timeout=10)).failure is None
    assert visits == 0


@pytest.mark.parametrize("target", ["", " ", "a b:1", "http://127.0.0.1:50051", "127.0.0.1:99999"])
def test_an_invalid_target(target: str) -> None:
    """An invalid target is a ValueError that says how a target is written, before anything is sent."""
    with pytest.raises(ValueError, match="target"):
        Client(target)
    with pytest.raises(ValueError, match="PEM"):
        Client(tls=TLS(root_certificates=b"no certificate"))
