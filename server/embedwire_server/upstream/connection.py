"""Connections to the upstream."""

import asyncio
import functools

import aiohttp
from aiohttp.client_proto import ResponseHandler


class _Connection(ResponseHandler):
    """A connection that is cut when it is closed with bytes still unsent.

    A transport that is closed first sends what it has buffered. An upstream that has stopped reading
    would so keep the connection, and all that was meant for it, of a call that nobody waits for.
    """

    def close(self) -> None:
        if self.transport is not None and self.transport.get_write_buffer_size() > 0:
            self.abort()
        else:
            super().close()


def session() -> aiohttp.ClientSession:
    """As many connections as there are inputs in flight; no cookies, no proxy from the environment."""
    connector = aiohttp.TCPConnector(limit=0)
    connector._factory = functools.partial(_Connection, loop=asyncio.get_running_loop())  # type: ignore[assignment] # noqa: SLF001 - no public way
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
    )
