"""TLS and mutual TLS: real certificates, real handshakes, and files that change while the server runs."""

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from tests.support import http2
from tests.support.messages import request, text_input
from tests.support.pki import Files, expired, pem, replace, shown_by, stub_of
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, Serve, settings_of, until
from tests.support.upstreams import Visit, reply

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def mutual(tmp_path: Path) -> Files:
    return Files(tmp_path, clients=trustme.CA())


async def code(target: str, credentials: grpc.ChannelCredentials, **options: object) -> grpc.StatusCode:
    """The status code of a call on its own connection."""
    async with stub_of(target, credentials, **options) as stub:
        found: grpc.StatusCode = await stub.CreateEmbeddingUnary(TEXT, timeout=20).code()
        return found


def handshake(target: str, version: ssl.TLSVersion) -> str | None:
    """Handshake in this version of TLS only; the version as the server reports it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # the client offers old versions at this security level only
    context.set_alpn_protocols(["h2"])
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = version
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain) as secured:
        return secured.version()


async def test_a_call_over_tls(serve: Serve, files: Files) -> None:
    """A client that trusts the authority and expects the right host is served; other clients fail in the handshake."""
    async with serve(**files.settings) as served:
        target = served.app.target
        assert await code(target, files.credentials()) is OK
        strange = grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes())
        assert await code(target, strange) is UNAVAILABLE
        assert await code(target, files.credentials(), ssl_target_name_override="example.org") is UNAVAILABLE


async def test_plain_text_is_rejected_on_the_tls_port(serve: Serve, files: Files) -> None:
    """A client without TLS gets no response, and its bytes reach no handler."""
    async with serve(**files.settings) as served, http2.tcp(served.app.target) as (reader, writer):
        writer.write(http2.PREFACE + http2.frame(http2.SETTINGS))
        with contextlib.suppress(ConnectionError):
            assert http2.PREFACE not in await asyncio.wait_for(reader.read(), 20)
        call = served.stub.CreateEmbeddingUnary(TEXT, timeout=20)
        assert await call.code() is UNAVAILABLE
        assert served.metric("grpc_server_started_total") == 0


async def test_old_versions_of_tls_are_refused(serve: Serve, files: Files) -> None:
    """TLS 1.2 and 1.3 are accepted, 1.1 is rejected."""
    async with serve(**files.settings) as served:
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            assert await asyncio.to_thread(handshake, served.app.target, version) == name
        # The server closes the connection; a client without TLS 1.1 reports another error.
        closed = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError)
        with pytest.raises(closed):
            await asyncio.to_thread(handshake, served.app.target, ssl.TLSVersion.TLSv1_1)


async def test_mutual_tls_requires_a_client_certificate(serve: Serve, mutual: Files) -> None:
    """None, a foreign, an expired, and one of the server's own authority are rejected before any call."""
    assert mutual.clients is not None
    right = mutual.clients.issue_cert("me")
    wrong = [None, trustme.CA().issue_cert("me"), expired(mutual.clients), mutual.authority.issue_cert("me")]
    async with serve(**mutual.settings) as served:
        for client in wrong:
            assert await code(served.app.target, mutual.credentials(client)) is UNAVAILABLE
        assert served.metric("grpc_server_started_total") == 0
        assert await code(served.app.target, mutual.credentials(right)) is OK


async def test_health_over_mutual_tls(serve: Serve, mutual: Files) -> None:
    """Health on the mutual TLS port needs a certificate; the health port needs none and serves only health."""
    assert mutual.clients is not None
    asked = health_pb2.HealthCheckRequest(service="embedwire.v1.EmbeddingService")
    credentials = mutual.credentials(mutual.clients.issue_cert("probe"))
    async with (
        serve(**mutual.settings, health_listen="127.0.0.1:0") as served,
        grpc.aio.secure_channel(served.app.target, credentials) as secured,
        grpc.aio.secure_channel(served.app.target, mutual.credentials()) as without_certificate,
        grpc.aio.insecure_channel(served.app.health_target) as plain,
    ):
        for channel in (secured, plain):
            assert (await health_pb2_grpc.HealthStub(channel).Check(asked, timeout=20)).status == 1
        assert await health_pb2_grpc.HealthStub(without_certificate).Check(asked, timeout=20).code() is UNAVAILABLE
        path = "/embedwire.v1.EmbeddingService/ListModels"
        call = plain.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)(b"", timeout=20)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_new_certificate_is_in_force_at_once(scripted: Scripted, files: Files) -> None:
    """A new certificate is used from the next connection on; running calls and existing connections continue."""
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await go_on.wait()
        await visit.answer(reply())

    async with (
        scripted(script, **files.settings) as (served, upstream),
        stub_of(served.app.target, files.credentials()) as old,
    ):
        running = old.CreateEmbedding(request(text_input()), timeout=30)
        await until(lambda: len(upstream.visits) == 1)
        before = await asyncio.to_thread(shown_by, served.app.target)
        old_credentials, files.authority = files.credentials(), trustme.CA()
        files.renew()
        assert await asyncio.to_thread(shown_by, served.app.target) != before
        go_on.set()
        assert await code(served.app.target, files.credentials()) is OK
        assert await code(served.app.target, old_credentials) is UNAVAILABLE
        assert len([event async for event in running]) == 2
        assert await old.CreateEmbeddingUnary(TEXT, timeout=20).code() is OK


async def test_files_that_do_not_match_are_not_loaded(serve: Serve, files: Files) -> None:
    """Until both certificate and key are written, the old pair is in force; then the new one is."""
    issued = files.authority.issue_cert("localhost", "127.0.0.1")
    async with serve(**files.settings) as served:
        before = await asyncio.to_thread(shown_by, served.app.target)
        files.certificate.write_bytes(pem(issued))
        assert await asyncio.to_thread(shown_by, served.app.target) == before
        assert await code(served.app.target, files.credentials()) is OK
        files.key.write_bytes(issued.private_key_pem.bytes())
        assert await asyncio.to_thread(shown_by, served.app.target) != before
        assert await code(served.app.target, files.credentials()) is OK


async def test_new_authorities_of_clients_are_in_force_at_once(serve: Serve, mutual: Files) -> None:
    """Clients of a new authority are accepted; those of a removed one are rejected, also with a resumed session."""
    assert mutual.clients is not None
    issued = mutual.clients.issue_cert("me")
    former, resume = mutual.credentials(issued), resuming(mutual, issued)
    async with serve(**mutual.settings) as served:
        target = served.app.target
        assert await code(target, former) is OK
        assert [await asyncio.to_thread(resume, target) for _ in range(2)] == [False, True]
        mutual.clients = trustme.CA()
        replace(mutual.client_ca, mutual.clients.cert_pem.bytes())
        assert await code(target, former) is UNAVAILABLE
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.to_thread(resume, target)
        assert await code(target, mutual.credentials(mutual.clients.issue_cert("me"))) is OK


def resuming(files: Files, client: trustme.LeafCert) -> Callable[[str], bool | None]:
    """A client that resumes the session of its last connection; whether the server accepted that."""
    context = ssl.create_default_context(cadata=files.authority.cert_pem.bytes().decode())
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2  # in TLS 1.2 the handshake shows it
    context.set_alpn_protocols(["h2"])
    client.configure_cert(context)
    sessions: list[ssl.SSLSession | None] = [None]

    def resume(target: str) -> bool | None:
        host, _, port = target.rpartition(":")
        with (
            socket.create_connection((host, int(port)), 10) as plain,
            context.wrap_socket(plain, server_hostname=host, session=sessions[-1]) as secured,
        ):
            sessions.append(secured.session)
            return secured.session_reused

    return resume


async def test_a_mounted_directory_is_swapped(serve: Serve, tmp_path: Path) -> None:
    """Certificates in a Kubernetes mount, whose symbolic link ..data is swapped, are reloaded."""
    versions = [tmp_path / "..1", tmp_path / "..2"]
    authority = trustme.CA()
    for version in versions:
        version.mkdir()
        Files(version, authority)
    (tmp_path / "..data").symlink_to("..1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    async with serve(tls_certificate=tmp_path / "tls.crt", tls_key=tmp_path / "tls.key") as served:
        before = await asyncio.to_thread(shown_by, served.app.target)
        (tmp_path / "..next").symlink_to("..2")
        (tmp_path / "..next").rename(tmp_path / "..data")
        assert await asyncio.to_thread(shown_by, served.app.target) != before


async def test_broken_files_are_not_loaded_and_logged_once(files: Files) -> None:
    """With missing or broken files the last valid ones stay in force; each fault is logged once."""
    async with ServerProcess.running(**files.settings) as server:
        before = await asyncio.to_thread(shown_by, server.target)
        key = files.key.read_bytes()
        for content in (b"broken", None):
            files.key.unlink() if content is None else files.key.write_bytes(content)
            for _ in range(3):
                assert await asyncio.to_thread(shown_by, server.target) == before
        files.key.write_bytes(key)
        assert await code(server.target, files.credentials()) is OK
        assert await server.terminate() == 0

    log = "".join(server.log)
    assert log.count("the new certificate is invalid, the old one stays in use") == 2
    assert log.count("the certificate was reloaded") == 1
    assert "PRIVATE KEY" not in log


@pytest.mark.parametrize("form", ["windows", "one file", "chain"])
async def test_forms_of_files(serve: Serve, files: Files, form: str) -> None:
    """Windows line ends, key and certificate in one file, and a chain with intermediates are accepted."""
    if form == "chain":
        between = files.authority.create_child_ca()
        issued = between.issue_cert("localhost", "127.0.0.1")
        files.certificate.write_bytes(pem(issued))
        files.key.write_bytes(issued.private_key_pem.bytes())
    settings = files.settings
    if form == "windows":
        for path in (files.certificate, files.key):
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    if form == "one file":
        files.certificate.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
        settings["tls_key"] = files.certificate
    async with serve(**settings) as served:
        assert await code(served.app.target, files.credentials()) is OK


def test_an_encrypted_key_is_a_configuration_error(files: Files) -> None:
    """An encrypted key is a configuration error, without a password prompt on a terminal."""
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    secret = serialization.BestAvailableEncryption(b"secret")
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, secret))
    with pytest.raises(ValueError, match="tls-key is encrypted"):
        settings_of(**files.settings)


def test_wrong_order_and_foreign_keys_are_refused(files: Files) -> None:
    """A chain in the wrong order, a key of another certificate and an empty list of authorities prevent the start."""
    issued = files.authority.create_child_ca().issue_cert("localhost")
    blobs = [blob.bytes() for blob in issued.cert_chain_pems]
    files.certificate.write_bytes(b"".join(reversed(blobs)))
    files.key.write_bytes(issued.private_key_pem.bytes())
    with pytest.raises(ValueError, match="key values mismatch"):
        settings_of(**files.settings)
    files.renew()
    files.client_ca.touch()
    with pytest.raises(ValueError, match="tls-client-ca cannot be used"):
        settings_of(**files.settings | {"tls_client_ca": files.client_ca})
