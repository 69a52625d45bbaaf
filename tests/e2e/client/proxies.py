"""A TLS-terminating proxy in front of a plain server, as in production."""

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import AsyncGenerator

import trustme

from embedwire import TLS
from tests.support.tcp_server import tcp_server


@dataclasses.dataclass
class Authority:
    """A certificate authority of a test."""

    ca: trustme.CA = dataclasses.field(default_factory=trustme.CA)

    @property
    def roots(self) -> bytes:
        return self.ca.cert_pem.bytes()

    def client(self) -> TLS:
        """The `tls` argument of a client with a certificate of its own."""
        issued = self.ca.issue_cert("client.test")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return TLS(self.roots, chain, issued.private_key_pem.bytes())

    @contextlib.asynccontextmanager
    async def proxy(self, target: str, *names: str, wants_client: bool = False) -> AsyncGenerator[int]:
        """Terminate TLS for these names; yields the port."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        context.set_alpn_protocols(["h2"])
        if wants_client:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        host, _, port = target.rpartition(":")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer):
                inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
                with contextlib.closing(inner_writer):
                    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

        async with tcp_server(serve, tls=context) as served:
            yield served


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
