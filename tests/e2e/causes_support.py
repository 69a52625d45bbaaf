"""Helpers of the tests of connection causes."""

import asyncio
import contextlib
import socket
import ssl
import struct

import trustme

from tests.support.tcp_server import Serving, tcp_server

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


def says(answer: bytes, *, reset: bool = False) -> Serving:
    """Read something, send these bytes, and close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(answer)
        with contextlib.suppress(OSError):
            await writer.drain()
            if reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.close()

    return serve


def listening(serve: Serving, context: ssl.SSLContext | None = None) -> contextlib.AbstractAsyncContextManager[int]:
    """A server on loopback; its port."""
    return tcp_server(serve, tls=context)


def self_signed() -> ssl.SSLContext:
    """A self-signed certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.LeafCert(authority.private_key_pem.bytes(), authority.cert_pem.bytes(), []).configure_cert(context)
    return context
