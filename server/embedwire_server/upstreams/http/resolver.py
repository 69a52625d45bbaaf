"""DNS resolver: lookups are shared by simultaneous connects, cached briefly, and have a timeout of their own.

`getaddrinfo` runs in a pool of a few threads and cannot be cancelled. So at most one lookup of a name is running, also
when DNS does not respond; a connect that times out leaves it running, and the next one waits for it.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence

from aiohappyeyeballs import AddrInfoType

LOOKUP_SECONDS = 6.0  # resolvers ask the second DNS server after 5 s
CACHE_SECONDS = 5.0

Lookup = Callable[[str, int], Awaitable[Sequence[AddrInfoType]]]


async def getaddrinfo(host: str, port: int) -> Sequence[AddrInfoType]:
    """Look a name up with the resolver of the system."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Resolver:
    """Caching DNS resolver.

    Args:
        lookup: function that resolves a name.
        seconds: timeout of a connect for the lookup.
    """

    def __init__(self, lookup: Lookup = getaddrinfo, seconds: float = LOOKUP_SECONDS) -> None:
        self._lookup = lookup
        self._seconds = seconds
        self._running: dict[tuple[str, int], asyncio.Task[Sequence[AddrInfoType]]] = {}
        self._found: dict[tuple[str, int], tuple[float, Sequence[AddrInfoType]]] = {}

    async def addresses(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """Return the addresses of a host, in the order of preference of the system.

        Raises:
            OSError: it has none, or the lookup failed; usually a socket.gaierror.
        """
        if literal := _literal(host, port):
            return literal
        key = host, port
        valid_until, found = self._found.get(key, (0.0, ()))
        if time.monotonic() < valid_until:
            return found
        if (lookup := self._running.get(key)) is None:
            lookup = self._running[key] = asyncio.create_task(self._look_up(key), name=f"lookup of {host}")
            lookup.add_done_callback(_retrieve)
        done, _ = await asyncio.wait([lookup], timeout=self._seconds)
        if not done:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {self._seconds:g} s")
        return lookup.result()

    def forget(self, host: str, port: int) -> None:
        """Discard the cached addresses of a name: none of them could be reached."""
        self._found.pop((host, port), None)

    async def _look_up(self, key: tuple[str, int]) -> Sequence[AddrInfoType]:
        try:
            found = await self._lookup(*key)
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
            self._found[key] = time.monotonic() + CACHE_SECONDS, found
            return found
        finally:
            del self._running[key]


def _literal(host: str, port: int) -> Sequence[AddrInfoType]:
    """Return the address if the host is an IP address, which needs no lookup in a thread."""
    for family, more in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, *more))]
    return ()


def _retrieve(lookup: "asyncio.Task[Sequence[AddrInfoType]]") -> None:
    """Mark the exception of a lookup as retrieved: it may be that no connect waits for it any longer."""
    if not lookup.cancelled():
        lookup.exception()
