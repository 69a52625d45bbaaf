"""Server lifecycle: start, reload, drain and stop."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import structlog

from embedwire_server import assembly, startup_log
from embedwire_server.admission.caller_quota import CallerQuotas
from embedwire_server.admission.load_shedding import LoadShedder, capacities
from embedwire_server.auth.tokens import Authenticator
from embedwire_server.config.reload import Reconfigurable
from embedwire_server.config.settings import Settings
from embedwire_server.core.address import Address
from embedwire_server.core.failure_causes import Cause
from embedwire_server.gateway.gateway import Gateway
from embedwire_server.http_port import HttpPort
from embedwire_server.observability.readiness import Check, Readiness
from embedwire_server.observability.resource_monitor import ResourceMonitor
from embedwire_server.policies.concurrency_limit import ConcurrencyLimiter
from embedwire_server.policies.rate_limit.policy import RateLimiters, configured
from embedwire_server.policies.rate_limit.store import QuotaStore
from embedwire_server.policies.retry_budget import RetryBudget
from embedwire_server.rpc import server as rpc_server
from embedwire_server.rpc.grpcio import guard
from embedwire_server.rpc.health import HealthServicer
from embedwire_server.rpc.list_models import Catalog
from embedwire_server.rpc.port_check import check_port
from embedwire_server.rpc.server_options import ServerOptions
from embedwire_server.rpc.service import EmbeddingServicer
from embedwire_server.rpc.thread_scheduling import batch_threads
from embedwire_server.rpc.tls_reload import RotatingCredentials
from embedwire_server.upstreams.base import Upstream
from embedwire_server.upstreams.twelvelabs.asset_cleanup import AssetReleasePolicy

if TYPE_CHECKING:
    from embedwire_server.tracing import Tracing

PROBE_SECONDS = 1.0  # for checks in progress when the port for health is closed

log = structlog.get_logger(__name__)


class App:
    """The server. `async with App(settings) as app` starts it; leaving drains and stops it.

    Args:
        settings: the settings of the server.
        sandbox_url: the sandbox to use if the settings select it; None starts one.
        shares_port: whether other servers with this option may listen on its port.
        has_metrics: whether the metrics are served from the start, and not only after `serve_metrics`.
        quota_store: the store through which servers share the rate limits; None uses Redis if it is configured.
        replacements: for the metrics, how many workers it has replaced, by the reason.

    Attributes:
        target: HOST:PORT of gRPC, with the port that was bound.
        health_target: the same of the port for health checks only; empty if there is none.
        metrics_url: the URL of the metrics.
        is_retired: whether its ports are released for a successor; see `retire`.
    """

    def __init__(  # noqa: PLR0913 - options, all but one of them by name
        self,
        settings: Settings,
        *,
        sandbox_url: str | None = None,
        shares_port: bool = False,
        has_metrics: bool = True,
        replacements: Mapping[str, int] | None = None,
        quota_store: QuotaStore | None = None,
    ) -> None:
        self._settings = settings
        self._sandbox_url = sandbox_url
        self._options = ServerOptions(
            max_message_bytes=settings.request_limits.message_bytes,
            stall_timeout=settings.server.write_stall_timeout,
            max_connection_age=settings.server.max_connection_age,
            shares_port=shares_port,
            reflection=settings.server.reflection,
        )
        self._resources = contextlib.AsyncExitStack()
        self._endpoints = contextlib.AsyncExitStack()  # metrics and health
        self._has_metrics = has_metrics
        self.is_retired = False
        self._tracing: Tracing | None = None
        self._readiness = Readiness()
        self._metrics = assembly.metrics(settings)
        for reason, number in (replacements or {}).items():
            self._metrics.worker_replacements.labels(reason).inc(number)
        self._authenticator = Authenticator(settings.tokens)
        self._admission = LoadShedder(self._metrics, **capacities(settings.concurrency))
        self._concurrency = ConcurrencyLimiter(self._metrics, settings.concurrency.inputs_per_modality)
        self._budget = RetryBudget(settings.retry.budget_ratio, settings.retry.max_attempts)
        self._redis_quota = assembly.quota_store(settings, self._metrics) if quota_store is None else None
        self._quota = assembly.shared_quota(settings, quota_store or self._redis_quota, self._metrics, self._readiness)
        self._rate_limiters = RateLimiters(configured(settings.rate_limits), self._metrics, self._quota)
        self._http_port = HttpPort(lambda: self._settings, self._metrics, self._rate_limiters, self._readiness)
        self._caching: Sequence[Reconfigurable] = ()
        self.target = ""
        self.health_target = ""
        self.metrics_url = ""

    async def __aenter__(self) -> Self:
        """Build and start everything, in the order of dependencies, so that a port answers only when all is ready.

        Raises:
            OSError, RuntimeError: a port is in use, the spool cannot be written, or the packages of the sandbox or of
                Redis are missing; nothing is left running.
        """
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._resources = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop in the reverse order; running calls get the grace period to finish."""
        await self._resources.aclose()

    def reload(self, settings: Settings | None) -> None:
        """Apply these settings from the next call on, as far as a running server can.

        None means that the new settings are invalid.
        """
        self._metrics.reload_succeeded.set(settings is not None)
        if settings is None:
            return
        self._settings = settings
        for component in self._reconfigurable():
            component.reconfigure(settings)

    def _reconfigurable(self) -> Sequence[Reconfigurable]:
        return (
            self._authenticator,
            self._admission,
            self._concurrency,
            self._budget,
            self._rate_limiters,
            *self._caching,
            self._gateway,
            self._servicer,
        )

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        settings, health = self._settings, HealthServicer(self._readiness)

        async def report(lacking: frozenset[Cause]) -> None:
            if lacking:
                await health.unready(Check.RESOURCES, ", ".join(sorted(lacking)))
            else:
                await health.ready(Check.RESOURCES)

        resources = ResourceMonitor(settings.uploads.spool_dir, self._metrics, report)
        await resources.start()
        await report(resources.lacking)
        self._tracing = await stack.enter_async_context(assembly.tracing(lambda: self.target))
        if self._redis_quota is not None:
            await stack.enter_async_context(self._redis_quota.running())
        if self._quota is not None:
            await stack.enter_async_context(self._quota.running())
        self._gateway = Gateway(
            await self._within_policies(stack),
            CallerQuotas(self._admission, self._metrics),
            self._metrics,
            settings.concurrency.inputs_per_call,
        )
        reader = assembly.request_reader(settings, self._admission.content_memory)
        catalog = Catalog(settings.model_table, settings.limits)
        self._servicer = EmbeddingServicer(self._gateway, reader, catalog, settings.uploads.idle_timeout)
        await stack.enter_async_context(self._http_port.heartbeat.running())
        await stack.enter_async_context(self._endpoints)
        if self._has_metrics:
            self.serve_metrics()
        with batch_threads():  # gRPC starts its threads here
            server = await self._start_grpc(health)
        stack.push_async_callback(server.stop, settings.shutdown.grace_period)
        stack.push_async_callback(self._drain, health)
        startup_log.warn(settings)
        await health.ready()
        await stack.enter_async_context(resources.running())
        log.info("serving", target=self.target, **startup_log.facts(settings, self.metrics_url, self.health_target))

    async def _start_grpc(self, health: HealthServicer) -> rpc_server.Server:
        """Start the gRPC server, after the one for health checks only."""
        settings = self._settings
        private_api = await guard.uses_private_api(public_api_only=settings.server.grpc_public_api_only)
        server = rpc_server.build(
            self._servicer,
            health,
            self._metrics,
            settings.upstream.name,
            self._options,
            authenticator=self._authenticator,
            private_api=private_api,
            spans=None if self._tracing is None else self._tracing.interceptor.wrap,
        )
        await self._serve_health(health, private_api=private_api)
        files = settings.tls.files
        if not self._options.shares_port:
            check_port("--listen", settings.server.address)
        port = server.listen(settings.server.listen, None if files is None else RotatingCredentials(files).credentials)
        await server.start()
        self.target = settings.server.address.with_port(port)
        return server

    async def _upstream(self, stack: contextlib.AsyncExitStack) -> assembly.TwelveLabs:
        return await stack.enter_async_context(
            assembly.twelvelabs(self._settings, self._metrics, self._sandbox_url, self._tracing)
        )

    async def _within_policies(self, stack: contextlib.AsyncExitStack) -> Upstream:
        """Build the upstream within all policies."""
        upstream = await self._upstream(stack)
        limited = assembly.with_policies(
            upstream.router, self._metrics, self._concurrency, self._budget, self._rate_limiters
        )
        store = await stack.enter_async_context(assembly.result_store(self._settings, self._metrics))
        self._caching = [upstream.keys] if store is None else [upstream.keys, store]
        has_coalescing = self._settings.cache.coalescing
        reusing = assembly.with_reuse(limited, upstream.keys, store, has_coalescing=has_coalescing)
        traced = reusing if self._tracing is None else self._tracing.policy(reusing)
        return AssetReleasePolicy(traced, upstream.cleanup)

    def serve_metrics(self) -> None:
        """Serve the metrics from now on.

        Raises:
            OSError: their port is in use.
        """
        self.metrics_url = self._http_port.open(self._endpoints)

    async def _serve_health(self, health: HealthServicer, *, private_api: bool) -> None:
        """Start the server for health checks only. It is stopped last, so that probes see the drain."""
        if self._settings.health.listen is None:
            return
        address = Address(self._settings.health.listen)
        server = rpc_server.HealthServer(
            health, self._metrics, self._settings.upstream.name, self._options, private_api=private_api
        )
        if not self._options.shares_port:
            check_port("--health-listen", address)
        self.health_target = address.with_port(server.listen(address))
        await server.start()
        self._endpoints.push_async_callback(server.stop, PROBE_SECONDS)

    async def retire(self) -> None:
        """Release the ports of metrics and health for the successor, and skip the shutdown delay.

        The successor serves already. So health does not fail before new calls are rejected: probes check the successor.
        """
        self.is_retired = True
        await self._endpoints.aclose()

    async def _drain(self, health: HealthServicer) -> None:
        delay = 0.0 if self.is_retired else self._settings.shutdown.delay
        await health.shut_down()
        log.info("draining", grace_period=self._settings.shutdown.grace_period, delay=delay)
        await asyncio.sleep(delay)
