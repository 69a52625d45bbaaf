"""A TLS-terminating proxy in front of a plain server, as in production."""

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import AsyncGenerator

import trustme

from embedwire import TLS


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
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer):
                inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
                with contextlib.closing(inner_writer):
                    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
