"""Certificates for tests, as files and as client credentials."""

import contextlib
import dataclasses
import datetime as dt
import hashlib
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import trustme

from embedwire.v1 import embedding_pb2_grpc

PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def pem(certificate: trustme.LeafCert) -> bytes:
    """The chain, from the certificate upwards."""
    return b"".join(blob.bytes() for blob in certificate.cert_chain_pems)


def expired(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("late", not_before=PAST, not_after=PAST + dt.timedelta(days=1))


def replace(path: Path, content: bytes) -> None:
    """Replace the content of a file atomically."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.rename(path)


@dataclasses.dataclass
class Files:
    """A directory with tls.crt, tls.key and, for mutual TLS, clients.crt; `authority` has signed the first."""

    directory: Path
    authority: trustme.CA = dataclasses.field(default_factory=trustme.CA)
    clients: trustme.CA | None = None

    def __post_init__(self) -> None:
        self.renew()

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = {"tls_certificate": self.certificate, "tls_key": self.key}
        return found if self.clients is None else found | {"tls_client_ca": self.client_ca}

    @property
    def certificate(self) -> Path:
        return self.directory / "tls.crt"

    @property
    def key(self) -> Path:
        return self.directory / "tls.key"

    @property
    def client_ca(self) -> Path:
        return self.directory / "clients.crt"

    def renew(self) -> None:
        """Write a new certificate and key over the old ones."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        replace(self.certificate, pem(issued))
        replace(self.key, issued.private_key_pem.bytes())
        if self.clients is not None:
            replace(self.client_ca, self.clients.cert_pem.bytes())

    def credentials(self, client: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
        """Credentials of a client that trusts the authority, with an optional certificate of its own."""
        trusted = self.authority.cert_pem.bytes()
        if client is None:
            return grpc.ssl_channel_credentials(trusted)
        return grpc.ssl_channel_credentials(trusted, client.private_key_pem.bytes(), pem(client))


@contextlib.asynccontextmanager
async def stub_of(target: str, credentials: grpc.ChannelCredentials, **options: Any) -> AsyncGenerator[Any]:
    """A client on a connection of its own."""
    chosen = [("grpc.use_local_subchannel_pool", 1), *((f"grpc.{name}", value) for name, value in options.items())]
    async with grpc.aio.secure_channel(target, credentials, chosen) as channel:
        yield embedding_pb2_grpc.EmbeddingServiceStub(channel)


def shown_by(target: str) -> str:
    """The certificate that a server presents now."""
    host, _, port = target.rpartition(":")
    return ssl.get_server_certificate((host, int(port)), timeout=60)


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]
