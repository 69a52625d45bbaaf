"""Connections to the upstream: addresses, DNS lookups and TLS."""

import asyncio
import itertools
import socket
from collections.abc import Sequence

import httpx
import pytest
from aiohappyeyeballs import AddrInfoType

from embedwire_server.core.failure_causes import Cause
from embedwire_server.upstreams.http import dialer
from embedwire_server.upstreams.http.dialer import Dialer
from embedwire_server.upstreams.http.resolver import Resolver
from tests.e2e.connect.peers import (
    Authority,
    Caller,
    echoing,
    failure,
    found,
    full,
    hanging,
    nothing,
    resolving,
    sockets,
)
from tests.support.ports import held_port

pytestmark = pytest.mark.asyncio


async def test_an_address_that_does_not_respond() -> None:
    """The next address is tried long before the timeout, and the socket of the first one is closed."""
    with full() as dead:
        async with echoing() as port:
            made = Dialer(httpx.URL("http://upstream.test"), resolver=resolving(dead, dead, ("127.0.0.1", port)))
            before = sockets()
            async with asyncio.timeout(dialer.CONNECT_SECONDS / 2):
                caller = await made.connect(Caller, nothing)
            await asyncio.sleep(0)
            assert sockets() <= before + 2  # both ends of one connection
            assert caller.transport is not None
            option = caller.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert option
            assert await caller.echo(b"a") == b"a"


async def test_the_first_address_that_answers_is_used() -> None:
    """An address that refuses is skipped immediately; the order is that of the resolver."""
    with held_port() as port:
        refusing = "127.0.0.1", port
        async with echoing() as first, echoing() as second:
            addresses = refusing, ("127.0.0.1", first), ("127.0.0.1", second)
            made = Dialer(httpx.URL("http://upstream.test"), resolver=resolving(*addresses))
            caller = await made.connect(Caller, nothing)
            assert caller.transport is not None
            assert caller.transport.get_extra_info("peername")[1] == first
            assert await caller.echo(b"a") == b"a"
        assert await failure(Dialer(httpx.URL("http://upstream.test"), resolver=resolving(refusing, refusing))) == (
            httpx.ConnectError,
            Cause.CONNECTION_REFUSED,
        )


async def test_lookups_are_shared_and_cached() -> None:
    """Concurrent connects, and connects soon after, share one lookup; a failed lookup is repeated."""
    lookups = itertools.count(1)
    made = 0

    async with echoing() as port:

        async def look_up(host: str, _: int) -> Sequence[AddrInfoType]:
            nonlocal made
            made = next(lookups)
            await asyncio.sleep(0)
            if made == 1:
                raise socket.gaierror(socket.EAI_AGAIN, "")
            return await found(("127.0.0.1", port))(host, port)

        origin = Dialer(httpx.URL("http://upstream.test"), resolver=Resolver(look_up))
        failures = [*await asyncio.gather(failure(origin), failure(origin))]
        assert (failures, made) == ([(httpx.ConnectError, Cause.DNS_FAILED)] * 2, 1)
        callers = await asyncio.gather(*(origin.connect(Caller, nothing) for _ in range(10)))
        callers.append(await origin.connect(Caller, nothing))
        assert made == 2
        assert {await caller.echo(b"a") for caller in callers} == {b"a"}
    assert await failure(origin) == (httpx.ConnectError, Cause.CONNECTION_REFUSED)
    await failure(origin)
    assert made == 3  # addresses that could not be reached are removed from the cache


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_needs_no_lookup(host: str) -> None:
    """An IP address is not looked up, so it works also if all threads of the resolver are busy."""
    async with asyncio.timeout(20):
        ((_, kind, _, _, address),) = await Resolver(hanging).addresses(host, 80)
    assert (kind, address[:2]) == (socket.SOCK_STREAM, (host, 80))


async def test_a_resolver_that_hangs() -> None:
    """A lookup without an answer has a cause of its own; concurrent connects share one lookup."""
    lookups = 0

    async def look_up(host: str, port: int) -> Sequence[AddrInfoType]:
        nonlocal lookups
        lookups += 1
        return await hanging(host, port)

    origin = Dialer(httpx.URL("http://upstream.test"), resolver=Resolver(look_up, 0.1))
    failures = [*await asyncio.gather(failure(origin), failure(origin)), await failure(origin)]
    assert (failures, lookups) == ([(httpx.ConnectError, Cause.DNS_FAILED)] * 3, 1)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls(host: str, authority: Authority) -> None:
    """Certificates are verified for names and addresses against the given authorities; the protocol is HTTP/1.1."""
    accepted = asyncio.Event()
    async with echoing(authority.context(host)) as port:
        caller = await Dialer(httpx.URL(f"https://{host}:{port}"), None, authority.path).connect(Caller, accepted.set)
        assert caller.transport is not None
        assert caller.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert await caller.echo(b"a") == b"a"
        assert await failure(Dialer(httpx.URL(f"https://{host}:{port}"))) == (
            httpx.ConnectError,
            Cause.CERTIFICATE_UNTRUSTED,
        )
    assert accepted.is_set()
    accepted.clear()
    async with echoing(authority.context("other.test", "127.0.0.2")) as port:
        made = Dialer(httpx.URL(f"https://{host}:{port}"), None, authority.path)
        assert await failure(made, accepted.set) == (httpx.ConnectError, Cause.CERTIFICATE_WRONG_NAME)
    assert accepted.is_set()
