"""Causes of failed connections to the upstream, over real sockets and certificates."""

import asyncio
import contextlib
import datetime as dt
import errno
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import trustme

from embedwire.v1 import embedding_pb2
from embedwire_server.core.errors import GatewayError, Reason, ResourceFailure, RetrySafety, UpstreamFailure
from embedwire_server.core.failure_causes import OWN, PERMANENT, WORDS, Cause
from embedwire_server.upstreams.http import connection_errors
from embedwire_server.upstreams.http.exchange import TlsRecordReceived
from embedwire_server.upstreams.http.response_parser import MalformedResponseError
from tests.e2e.causes_support import listening, says, self_signed
from tests.e2e.test_transport import attempts_at, call, failure_of
from tests.support.embed_calls import embedded
from tests.support.messages import failed, request, text_input
from tests.support.process import ServerProcess
from tests.support.serving import Serve, until
from tests.support.tcp_server import Serving
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

TEXT = request(text_input())
UNARY = embedding_pb2.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
ALERT = bytes.fromhex("150303000202")  # the head of a fatal alert
CERTIFICATES = {cause for cause in Cause if cause.startswith("certificate_")}


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def of_another_authority() -> ssl.SSLContext:
    return server_context(trustme.CA().issue_cert("localhost"))


def plaintext_servers() -> Iterator[tuple[str, Serving]]:
    yield "http", says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    yield "ssh", says(b"SSH-2.0-OpenSSH_9.2\r\n")
    yield "smtp", says(b"220 mail.test ESMTP\r\n")


def tls_servers() -> Iterator[tuple[str, Serving]]:
    """The responses of TLS servers to a plain HTTP request."""
    yield "alert", says(ALERT + b"\x46")
    for name, body in {
        "nginx": b"<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>",
        "go": b"Client sent an HTTP request to an HTTPS server.\n",
        "apache": b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    }.items():
        yield name, says(b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\n" + body)


SOCKETS = {
    "reset": ("http", says(b"", reset=True), None, Cause.CONNECTION_RESET),
    "closed": ("http", says(b""), None, Cause.CONNECTION_CLOSED),
    "closed in the head": ("http", says(b"HTTP/1.1 200 OK\r\nConte"), None, Cause.CONNECTION_CLOSED),
    "closed in the body": (
        "http",
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"),
        None,
        Cause.CONNECTION_CLOSED,
    ),
    "closed in the handshake": ("https", says(b""), None, Cause.CONNECTION_CLOSED),
    "ssh": ("http", says(b"SSH-2.0-OpenSSH_9.2\r\n"), None, Cause.NOT_HTTP),
    "smtp": ("http", says(b"220 mail.test ESMTP\r\n"), None, Cause.NOT_HTTP),
    **{f"TLS to {name}": ("https", serve, None, Cause.TLS_TO_PLAINTEXT_PORT) for name, serve in plaintext_servers()},
    **{f"HTTP to {name}": ("http", serve, None, Cause.PLAINTEXT_TO_TLS_PORT) for name, serve in tls_servers()},
    "another authority": ("https", says(b""), of_another_authority, Cause.CERTIFICATE_UNTRUSTED),
    "self-signed": ("https", says(b""), self_signed, Cause.CERTIFICATE_SELF_SIGNED),
    "no common cipher": ("https", says(ALERT + b"\x28"), None, Cause.TLS_FAILED),
    "no common version": ("https", says(ALERT + b"\x46"), None, Cause.TLS_FAILED),
    "a client certificate wanted": ("https", says(ALERT + b"\x74"), None, Cause.TLS_FAILED),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(("scheme", "serve", "context", "cause"), SOCKETS.values(), ids=SOCKETS)
async def test_causes_of_failed_connections(
    scheme: str, serve: Serving, context: Callable[[], ssl.SSLContext] | None, cause: Cause
) -> None:
    """A failed connection names its cause and explains it, and is not retried if the cause is permanent."""
    async with (
        listening(serve, context and context()) as port,
        attempts_at(f"{scheme}://localhost:{port}") as upstream,
    ):
        failure = await failure_of(upstream)

    assert failure.cause is cause
    assert failure.reason is (
        Reason.UPSTREAM_MALFORMED_REPLY if cause is Cause.NOT_HTTP else Reason.UPSTREAM_UNAVAILABLE
    )
    assert cause not in PERMANENT or failure.retry_safety is RetrySafety.UNSAFE
    assert str(port) not in failure.message


@pytest.mark.asyncio
async def test_no_route() -> None:
    """The broadcast address of all networks has no route to it."""
    async with attempts_at("http://255.255.255.255:80") as upstream:
        failure = await failure_of(upstream)
    assert (failure.cause, failure.retry_safety) == (Cause.NETWORK_UNREACHABLE, RetrySafety.SAFE)


@pytest.mark.asyncio
async def test_a_name_that_does_not_exist() -> None:
    """A failed lookup is NAME_NOT_FOUND or DNS_FAILED, as the resolver of this machine reports it."""
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("nowhere.invalid", 80)
    is_permanent = caught.value.errno == socket.EAI_NONAME
    async with attempts_at("http://nowhere.invalid") as upstream:
        failure = await failure_of(upstream)
    expected = (Cause.NAME_NOT_FOUND, RetrySafety.UNSAFE) if is_permanent else (Cause.DNS_FAILED, RetrySafety.SAFE)
    assert (failure.cause, failure.retry_safety) == expected


@pytest.mark.asyncio
async def test_no_answer_to_the_connection_or_to_the_handshake() -> None:
    """A host that drops packets and one that accepts and stays silent have different causes."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # fills the accept queue; the kernel drops further connections
            client = waiting.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(full.getsockname())
        async with (
            listening(silent) as port,
            attempts_at(f"https://127.0.0.1:{port}") as handshake,
            attempts_at(f"http://127.0.0.1:{full.getsockname()[1]}") as connection,
        ):
            failures = await asyncio.gather(failure_of(handshake), failure_of(connection))

    assert [(failure.cause, failure.retry_safety) for failure in failures] == [
        (Cause.TLS_TIMEOUT, RetrySafety.ONCE),
        (Cause.CONNECT_TIMEOUT, RetrySafety.SAFE),
    ]


@pytest.mark.asyncio
async def test_a_deadline_that_is_shorter_than_the_timeout(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    """A call whose deadline ends while it connects is logged and counted with the cause of the timeout."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    async with listening(silent) as port, serve(upstream=f"https://127.0.0.1:{port}") as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.CreateEmbeddingUnary(UNARY, timeout=3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: served.metric("embedwire_upstream_connection_failures_total", cause="tls_timeout") == 1)
    assert "cause=tls_timeout" in "".join(capfd.readouterr()).replace("\x1b[0m", "").replace("\x1b[36m", "")


@pytest.mark.asyncio
async def test_only_requests_that_were_sent_are_attempts() -> None:
    """A connection that was not made is no attempt; a connection closed after the request is one."""
    counted = {}
    async with listening(says(b"")) as port:
        for scheme in ("https", "http"):
            async with attempts_at(f"{scheme}://127.0.0.1:{port}") as upstream:
                attempt = call()
                with pytest.raises(UpstreamFailure):
                    await embedded(upstream, attempt)
                counted[scheme] = attempt.attempts
    assert counted == {"https": 0, "http": 1}


def of_certificate(code: int) -> Exception:
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.verify_code = code
    return error


EXCEPTIONS = {
    "no DNS server": (socket.gaierror(socket.EAI_AGAIN, ""), Cause.DNS_FAILED),
    "DNS server fails": (socket.gaierror(socket.EAI_FAIL, ""), Cause.DNS_FAILED),
    "no such name": (socket.gaierror(socket.EAI_NONAME, ""), Cause.NAME_NOT_FOUND),
    "no address of that name": (socket.gaierror(socket.EAI_NODATA, ""), Cause.NAME_NOT_FOUND),
    "resolver without memory": (socket.gaierror(socket.EAI_MEMORY, ""), Cause.MEMORY),
    "resolver without files": (OSError(errno.EMFILE, ""), Cause.FILE_DESCRIPTORS),
    "DNS or TCP without an answer": (TimeoutError(), Cause.CONNECT_TIMEOUT),
    "timeout of the kernel": (OSError(errno.ETIMEDOUT, ""), Cause.CONNECT_TIMEOUT),
    "no files": (OSError(errno.EMFILE, ""), Cause.FILE_DESCRIPTORS),
    "no files in the system": (OSError(errno.ENFILE, ""), Cause.FILE_DESCRIPTORS),
    "no ports": (OSError(errno.EADDRNOTAVAIL, ""), Cause.LOCAL_PORTS),
    "no memory": (OSError(errno.ENOMEM, ""), Cause.MEMORY),
    "no buffers": (OSError(errno.ENOBUFS, ""), Cause.MEMORY),
    "no host": (OSError(errno.EHOSTUNREACH, ""), Cause.HOST_UNREACHABLE),
    "no network": (OSError(errno.ENETDOWN, ""), Cause.NETWORK_UNREACHABLE),
    "another address": (of_certificate(64), Cause.CERTIFICATE_WRONG_NAME),
    "another name": (of_certificate(62), Cause.CERTIFICATE_WRONG_NAME),
    "revoked, for instance": (of_certificate(23), Cause.CERTIFICATE_UNTRUSTED),
    "two addresses, two errors": (
        OSError("Multiple exceptions: [Errno 101] Connect call failed, [Errno 111] Connect call failed"),
        Cause.CONNECTION_REFUSED,
    ),
    "two addresses, files run out": (
        OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 24] Too many open files"),
        Cause.FILE_DESCRIPTORS,
    ),
    "end of the connection": (EOFError(), Cause.CONNECTION_CLOSED),
    "aborted": (ConnectionAbortedError(), Cause.CONNECTION_CLOSED),
    "not HTTP": (MalformedResponseError(), Cause.NOT_HTTP),
    "an alert of TLS": (TlsRecordReceived(), Cause.PLAINTEXT_TO_TLS_PORT),
    "whatever else": (OSError(errno.EPROTO, ""), Cause.CONNECTION_FAILED),
}


@pytest.mark.parametrize(("error", "cause"), EXCEPTIONS.values(), ids=EXCEPTIONS)
def test_causes_of_exceptions(error: Exception, cause: Cause) -> None:
    """Exceptions of the network library map to their causes, also those that cannot be produced here."""
    wrapped = httpx.ConnectError("")
    wrapped.__cause__ = error
    assert connection_errors.cause_of(wrapped) is cause


def test_the_contract_lists_every_cause() -> None:
    """The comment in the contract lists exactly the causes that exist, and each has an explanation."""
    proto = Path(__file__).parents[2] / "proto/embedwire/v1/embedding.proto"
    comment = re.search(r"// No connection:.*?string cause", proto.read_text(), re.DOTALL)
    assert comment is not None
    assert set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b|\bmemory\b", comment[0])) == set(Cause)
    assert set(WORDS) == set(Cause)
    assert embedding_pb2.Failure.DESCRIPTOR.fields_by_name["cause"].number == 8


@pytest.mark.parametrize("cause", sorted(OWN))
def test_causes_of_the_servers_own_resources(cause: Cause) -> None:
    """A lack of the server's own resources has a reason of the gateway or its policies, never one of the upstream."""
    failure: GatewayError = ResourceFailure(cause)
    assert failure.reason in {Reason.INTERNAL, Reason.OVERLOADED}
    assert failure.cause is cause


class Changing:
    """A TLS server whose certificate can be replaced between connections."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.certificate = certificate

    def context(self) -> ssl.SSLContext:
        context = server_context(self.certificate)
        context.sni_callback = lambda connection, *_: setattr(connection, "context", server_context(self.certificate))
        return context


@pytest.mark.asyncio
async def test_certificates_of_a_trusted_authority(tmp_path: Path) -> None:
    """SSL_CERT_FILE is trusted; expired, premature and misnamed certificates of its authority have their own causes."""
    authority, now = trustme.CA(), dt.datetime.now(dt.UTC)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    changing = Changing(authority.issue_cert("localhost"))
    day = dt.timedelta(days=1)
    later = now + 2 * day
    wrong = {
        Cause.CERTIFICATE_EXPIRED: authority.issue_cert("localhost", not_before=now - 2 * day, not_after=now - day),
        Cause.CERTIFICATE_NOT_YET_VALID: authority.issue_cert("localhost", not_before=now + day, not_after=later),
        Cause.CERTIFICATE_WRONG_NAME: authority.issue_cert("other.test"),
        Cause.CERTIFICATE_UNTRUSTED: trustme.CA().issue_cert("localhost"),
    }

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = ScriptedHttpServer(good)
        await server.serve(reader, writer)

    async def good(visit: Visit) -> None:
        await visit.answer(reply(), Connection="close")

    reported = {}
    environment = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    async with listening(answer, changing.context()) as port:
        upstream = f"https://localhost:{port}"
        async with ServerProcess.running(environment=environment, upstream=upstream) as server:
            assert len([event async for event in server.stub.CreateEmbedding(TEXT, timeout=60)]) == 2
            for cause, changing.certificate in wrong.items():
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    async for _ in server.stub.CreateEmbedding(TEXT, timeout=60):
                        pass
                reported[cause] = failed(caught.value).failure.cause
            changing.certificate = authority.issue_cert("localhost")
            assert len([event async for event in server.stub.CreateEmbedding(TEXT, timeout=60)]) == 2

    assert reported == {cause: cause for cause in wrong}
    assert set(reported) | {Cause.CERTIFICATE_SELF_SIGNED} == CERTIFICATES
