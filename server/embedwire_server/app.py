"""The composition root: builds everything, starts it, drains it, stops it."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from typing import Self

import structlog

from embedwire_server import __version__
from embedwire_server.gateway import Gateway
from embedwire_server.metrics import Metrics
from embedwire_server.metrics_endpoint import MetricsEndpoint
from embedwire_server.rpc import server as rpc_server
from embedwire_server.rpc.catalog import Catalog
from embedwire_server.rpc.health import HealthServicer
from embedwire_server.rpc.requests import RequestReader
from embedwire_server.rpc.servicer import EmbeddingServicer
from embedwire_server.settings import Settings
from embedwire_server.upstream import Upstream, connection
from embedwire_server.upstream.http import HttpUpstream
from embedwire_server.upstream.measured import MeasuredUpstream
from embedwire_server.upstream.policies.admission import Admission, AdmittedUpstream
from embedwire_server.upstream.policies.budget import RetryBudget
from embedwire_server.upstream.policies.deadline import DeadlineUpstream
from embedwire_server.upstream.policies.pacing import PacedUpstream
from embedwire_server.upstream.policies.retry import RetryingUpstream
from embedwire_server.upstream.transport import Transport

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def embedded_sandbox() -> AsyncGenerator[str]:
    """Run the sandbox in this process and tell its base URL.

    Raises:
        RuntimeError: its packages are missing.
    """
    try:
        from embedwire_server.sandbox import Sandbox  # noqa: PLC0415 - an extra that production does without
    except ImportError as error:
        raise RuntimeError(
            "the sandbox needs more packages: install embedwire-server[sandbox], "
            "or set TWELVELABS_API_KEY or --upstream"
        ) from error

    async with Sandbox() as sandbox:
        log.warning("the embedded sandbox answers: its vectors are not the real model's")
        yield sandbox.base_url


class App:
    """The server. `async with App(settings) as app` starts it; leaving drains and stops it.

    Args:
        settings: what it goes by.
        sandbox_url: the sandbox that answers if the settings want one; None starts one of its own.
        shares_port: whether other servers that say so too may listen on its port.

    Attributes:
        target: HOST:PORT of gRPC, with the port that was really taken.
        metrics_url: where the metrics are.
    """

    def __init__(self, settings: Settings, *, sandbox_url: str | None = None, shares_port: bool = False) -> None:
        self._settings = settings
        self._sandbox_url = sandbox_url
        self._shares_port = shares_port
        self._resources = contextlib.AsyncExitStack()
        self.target = ""
        self.metrics_url = ""

    async def __aenter__(self) -> Self:
        """Build and start everything, outermost last, so that a port answers only when all is ready.

        Raises:
            OSError, RuntimeError: a port is in use, or the sandbox's packages are missing; nothing is left running.
        """
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._resources = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop in the reverse order; running calls get `grace` seconds to finish."""
        await self._resources.aclose()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self._settings
        metrics = Metrics(settings.upstream_name)
        admission = Admission(
            metrics,
            in_flight=settings.inputs_in_flight,
            queued=settings.inputs_queued,
            content_bytes=settings.max_content_bytes,
        )
        upstream = self._policies(MeasuredUpstream(await self._upstream(stack), metrics), admission, metrics)
        gateway = Gateway(upstream, admission, metrics, settings.inputs_at_once)
        requests = RequestReader(
            settings.model_table,
            settings.limits,
            settings.inputs_at_once,
            settings.spool_dir,
            accepts_upstream_keys=settings.accept_upstream_keys,
        )
        servicer = EmbeddingServicer(gateway, requests, Catalog(settings.model_table, settings.limits))
        health = HealthServicer()
        rules = rpc_server.Rules(
            max_message_bytes=settings.max_message_bytes,
            stall_timeout=settings.stall_timeout,
            max_connection_age=settings.max_connection_age,
            shares_port=self._shares_port,
        )
        server = rpc_server.build(servicer, health, metrics, settings.upstream_name, rules)
        self._serve_metrics(stack, metrics)
        port = server.listen(settings.listen)
        await server.start()
        stack.push_async_callback(server.stop, settings.grace)
        stack.push_async_callback(self._drain, health)
        self.target = settings.listen_address.with_port(port)
        await health.ready()
        log.info("serving", target=self.target, metrics=self.metrics_url, upstream=settings.upstream_name)

    def _policies(self, upstream: Upstream, admission: Admission, metrics: Metrics) -> Upstream:
        """Wrap the upstream; every attempt is paced, and what waits for its turn holds its place."""
        settings = self._settings
        paced = PacedUpstream(upstream, settings.rate_limits, metrics)
        retrying = RetryingUpstream(paced, RetryBudget(settings.retry_budget), settings.max_attempts, metrics)
        return DeadlineUpstream(AdmittedUpstream(retrying, admission), metrics)

    async def _upstream(self, stack: contextlib.AsyncExitStack) -> HttpUpstream:
        settings = self._settings
        key = settings.api_key.get_secret_value() if settings.api_key else None
        base_url = settings.upstream_url
        if base_url is None:  # the server's key is never shown to a sandbox
            base_url, key = self._sandbox_url, secrets.token_hex(8)
        if base_url is None:
            base_url = await stack.enter_async_context(embedded_sandbox())
        transport = Transport(connection.session())
        stack.push_async_callback(transport.aclose)
        return HttpUpstream(transport, base_url, settings.upstream_name, key, f"embedwire/{__version__}")

    def _serve_metrics(self, stack: contextlib.AsyncExitStack, metrics: Metrics) -> None:
        address = self._settings.metrics_address
        try:
            endpoint = stack.enter_context(MetricsEndpoint(address.host, address.port, metrics.registry))
        except OSError as error:
            raise OSError(error.errno, f"--metrics-listen {address}: {error.strerror}") from error
        self.metrics_url = f"http://{address.with_port(endpoint.port)}/metrics"

    async def _drain(self, health: HealthServicer) -> None:
        await health.shut_down()
        log.info("draining", grace=self._settings.grace, delay=self._settings.drain_delay)
        await asyncio.sleep(self._settings.drain_delay)
