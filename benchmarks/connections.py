"""Rows of connections to the upstream: TLS and a forward proxy."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import grpc
import trustme

from benchmarks import requests
from benchmarks.gateway import DEFAULT, Start
from benchmarks.processes import OTHER_CORE, Command, Running, free_port, listening, running
from benchmarks.relay import HOST
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import Stage
from benchmarks.subjects import Embedding
from benchmarks.texts import CALLS_EACH, CONNECTIONS, texts

WAY = "text"
# A variable in the environment of the benchmark must not bypass the proxy.
_NO_EXCEPTIONS = {"NO_PROXY": "", "no_proxy": ""}


@row(18, "tls", Bound("https upstream ÷ http upstream", 0.8, 0.95))
async def tls(stage: Stage) -> Measured:
    """Text calls/s with an upstream over TLS ÷ the same upstream in plaintext."""
    subjects = {"https": tls_texts, "http": texts}
    found = await stage.compare_restarted({name: functools.partial(start, stage) for name, start in subjects.items()})
    return Measured([found.ratios("https", "http")], found.notes())


@row(
    19,
    "proxy",
    Bound("through a proxy ÷ direct, http upstream", 0.9, 0.97),
    Bound("through a proxy ÷ direct, https upstream", 0.9, 0.97),
)
async def proxy(stage: Stage) -> Measured:
    """Text calls/s through a forward proxy ÷ direct: the absolute form for http, CONNECT for https."""
    subjects = {
        "http direct": texts,
        "http by proxy": proxied_texts,
        "https direct": tls_texts,
        "https by proxy": proxied_tls_texts,
    }
    found = await stage.compare_restarted({name: functools.partial(start, stage) for name, start in subjects.items()})
    ratios = [found.ratios(f"{scheme} by proxy", f"{scheme} direct") for scheme in ("http", "https")]
    return Measured(ratios, found.notes())


@contextlib.asynccontextmanager
async def tls_texts(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of texts, with an upstream over TLS."""
    async with tls_upstream(stage) as (port, environment):
        trusting = dataclasses.replace(start, environment=environment)
        async with stage.gateway(WAY, trusting, upstream=f"https://127.0.0.1:{port}") as server:
            yield await stage.streaming(server, requests.text(), 1, CONNECTIONS, CALLS_EACH)


@contextlib.asynccontextmanager
async def proxied_texts(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of texts, with a plaintext upstream through the proxy."""
    async with through_proxy(stage, start, f"http://{HOST}:{stage.upstream.ports[WAY]}", {}) as subject:
        yield subject


@contextlib.asynccontextmanager
async def proxied_tls_texts(stage: Stage, start: Start = DEFAULT) -> AsyncGenerator[Embedding]:
    """Run a gateway under a load of texts, with an upstream over TLS through the proxy."""
    async with (
        tls_upstream(stage) as (port, environment),
        through_proxy(stage, start, f"https://{HOST}:{port}", environment) as subject,
    ):
        yield subject


@contextlib.asynccontextmanager
async def tls_upstream(stage: Stage) -> AsyncGenerator[tuple[int, dict[str, str]]]:
    """Run a TLS server in front of the upstream; yield its port and the environment with which a gateway trusts it."""
    port = free_port()
    authority = trustme.CA()
    authorities, certificate = stage.directory / f"tls-{port}.ca", stage.directory / f"tls-{port}.pem"
    authority.cert_pem.write_to_path(authorities)
    authority.issue_cert("127.0.0.1", HOST).private_key_and_cert_chain_pem.write_to_path(certificate)
    async with _relay(stage, "tls", port, stage.upstream.ports[WAY], certificate):
        yield port, {"SSL_CERT_FILE": str(authorities.absolute())}


@contextlib.asynccontextmanager
async def through_proxy(
    stage: Stage, start: Start, upstream: str, environment: dict[str, str]
) -> AsyncGenerator[Embedding]:
    """Run a gateway that uses the proxy; only the proxy can resolve the name of the upstream's host.

    Raises:
        RuntimeError: the gateway does not use the proxy.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    variables = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), address)
    async with _relay(stage, "proxy", port) as program:
        proxied = dataclasses.replace(start, environment=environment | _NO_EXCEPTIONS | variables)
        async with stage.gateway(WAY, proxied, upstream=upstream) as server:
            unused = f"{start.build.name}: the gateway did not use HTTP_PROXY={address} for {upstream}"
            try:
                subject = await stage.streaming(server, requests.text(), 1, CONNECTIONS, CALLS_EACH)
            except grpc.aio.AioRpcError as error:
                raise RuntimeError(f"{unused}, or failed to: {error.code().name}: {error.details()}") from error
            if not count(program.log, upstream):
                raise RuntimeError(f"{unused}, and reached it all the same")
            yield subject


def count(log: Path, upstream: str) -> int:
    """Return the number of connections for this upstream that the proxy has accepted."""
    scheme, _, authority = upstream.partition("://")
    beginning = f"CONNECT {authority}" if scheme == "https" else f"POST {upstream}/"
    return sum(line.startswith(beginning) for line in log.read_text().splitlines())


@contextlib.asynccontextmanager
async def _relay(stage: Stage, kind: str, port: int, *words: object) -> AsyncGenerator[Running]:
    command: Command = [sys.executable, "-m", "benchmarks.relay", kind, str(port), *map(str, words)]
    async with running(command, stage.directory / f"{kind}-{port}.log", OTHER_CORE) as program:
        await listening(port, program)
        yield program
