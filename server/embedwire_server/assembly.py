"""Composition root: builds the upstream, the policies around it, and the request reader."""

import contextlib
import functools
import secrets
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, NamedTuple

import structlog

from embedwire_server import __version__
from embedwire_server.config import otel_variables, sources
from embedwire_server.config.redis_url import RedisUrl
from embedwire_server.config.settings import Settings
from embedwire_server.media.memory_budget import ContentMemory
from embedwire_server.observability.exception_logging import describe
from embedwire_server.observability.exemplars import ExemplarHistogramFamily
from embedwire_server.observability.metrics import Metrics
from embedwire_server.observability.readiness import Readiness
from embedwire_server.policies.attempts import AttemptPolicy
from embedwire_server.policies.cache.key import ResultKeys
from embedwire_server.policies.cache.memory_store import MemoryStore
from embedwire_server.policies.cache.policy import CachePolicy
from embedwire_server.policies.cache.redis_store import RedisStore
from embedwire_server.policies.cache.store import ResultStore
from embedwire_server.policies.coalescing import CoalescingPolicy
from embedwire_server.policies.concurrency_limit import ConcurrencyLimiter, ConcurrencyLimitPolicy
from embedwire_server.policies.rate_limit.policy import RateLimiters, RateLimitPolicy
from embedwire_server.policies.rate_limit.quota_mode import QuotaMode
from embedwire_server.policies.rate_limit.redis_store import RedisQuotaStore, credential_digest
from embedwire_server.policies.rate_limit.shared_quota import SharedQuota
from embedwire_server.policies.rate_limit.store import QuotaStore
from embedwire_server.policies.redis_connection import RedisConnection
from embedwire_server.policies.retry import RetryPolicy
from embedwire_server.policies.retry_budget import RetryBudget
from embedwire_server.rpc.decode import RequestReader
from embedwire_server.rpc.thread_scheduling import batch_threads
from embedwire_server.upstreams.base import Upstream
from embedwire_server.upstreams.http.client import HttpClient
from embedwire_server.upstreams.http.dialer import Dialer, tls_context
from embedwire_server.upstreams.http.transport import Transport
from embedwire_server.upstreams.sandbox import sandbox
from embedwire_server.upstreams.twelvelabs.asset_cleanup import AssetCleanup
from embedwire_server.upstreams.twelvelabs.assets import AssetStore
from embedwire_server.upstreams.twelvelabs.router import Router
from embedwire_server.upstreams.twelvelabs.tasks import TaskUpstream
from embedwire_server.upstreams.twelvelabs.v1 import V1Dialect
from embedwire_server.upstreams.twelvelabs.v2 import V2Dialect

if TYPE_CHECKING:
    from embedwire_server.tracing import Tracing

log = structlog.get_logger(__name__)


class TwelveLabs(NamedTuple):
    """The upstream: the client, what chooses among requests, what deletes assets, and the keys of its results."""

    client: HttpClient
    router: Upstream
    cleanup: AssetCleanup
    keys: ResultKeys


def metrics(settings: Settings) -> Metrics:
    """Build the metrics; if tracing is on, their histograms have exemplars."""
    if not otel_variables.is_tracing_on(sources.otel()):
        return Metrics(settings.upstream.name)
    return Metrics(settings.upstream.name, ExemplarHistogramFamily)


@contextlib.asynccontextmanager
async def tracing(target: Callable[[], str]) -> AsyncGenerator["Tracing | None"]:
    """Record spans if the variables of OpenTelemetry ask for it, and export them until the end; else yield None.

    What the SDK rejects does not stop the server.

    Args:
        target: returns HOST:PORT of the server.
    """
    built = None
    if otel_variables.is_tracing_on(sources.otel()):
        try:
            with batch_threads():  # the exporter starts its thread here
                from embedwire_server.tracing import Tracing  # noqa: PLC0415 - not loaded without tracing

                built = Tracing(sources.otel(), target)
        except Exception as error:  # noqa: BLE001 - see above
            log.error("traces are not recorded: OpenTelemetry rejects its variables", **describe(error))  # noqa: TRY400
    async with contextlib.nullcontext() if built is None else built.export.running():
        yield built


def quota_store(settings: Settings, metrics: Metrics) -> RedisQuotaStore | None:
    """Build the quota store in Redis; None without `quota.store`."""
    if settings.quota.store is None:
        return None
    connection = RedisConnection(settings.quota.store, "quota", metrics)
    upstream = settings.upstream
    key = upstream.api_key.get_secret_value() if upstream.api_key else None
    return RedisQuotaStore(connection, credential_digest(upstream.base_url or "sandbox", key))


def shared_quota(
    settings: Settings, store: QuotaStore | None, metrics: Metrics, readiness: Readiness
) -> SharedQuota | None:
    """Build the access to a quota store; None without a store."""
    if store is None:
        return None
    shares = settings.rate_limit_shares
    return SharedQuota(store, shares, QuotaMode(shares, metrics, readiness))


def with_policies(
    upstream: Upstream,
    metrics: Metrics,
    concurrency: ConcurrencyLimiter,
    budget: RetryBudget,
    rate_limiters: RateLimiters,
) -> Upstream:
    """Wrap an upstream in the policies, the outermost first. An input that waits in an inner one keeps its slot."""
    policies: list[Callable[[Upstream], Upstream]] = [
        functools.partial(ConcurrencyLimitPolicy, limiter=concurrency, metrics=metrics),
        functools.partial(RetryPolicy, budget=budget, metrics=metrics),
        functools.partial(RateLimitPolicy, rate_limiters=rate_limiters),  # for every attempt
        functools.partial(AttemptPolicy, metrics=metrics),
    ]
    for policy in reversed(policies):
        upstream = policy(upstream)
    return upstream


@contextlib.asynccontextmanager
async def result_store(settings: Settings, metrics: Metrics) -> AsyncGenerator[ResultStore | None]:
    """Build the store of results, and close its connections in the end; None if results are not cached.

    Raises:
        RuntimeError: the store is Redis, and its package is missing.
    """
    cache = settings.cache
    if isinstance(cache.store, RedisUrl):
        store = RedisStore(RedisConnection(cache.store, "cache", metrics), cache.max_age, metrics)
        async with store.running():
            yield store
    else:
        yield None if cache.store is None else MemoryStore(cache.max_bytes, cache.max_age, metrics)


def with_reuse(upstream: Upstream, keys: ResultKeys, store: ResultStore | None, *, has_coalescing: bool) -> Upstream:
    """Wrap an upstream, with its policies, in those that reuse results: a reused one waits in no queue of the others.

    Args:
        upstream: the upstream.
        keys: inputs with the same key have the same result.
        store: has the results; None if they are not cached.
        has_coalescing: whether identical inputs in flight share a request; they always do if there is a store.
    """
    if has_coalescing or store is not None:
        upstream = CoalescingPolicy(upstream, keys, store)
    return upstream if store is None else CachePolicy(upstream, keys, store)


@contextlib.asynccontextmanager
async def twelvelabs(
    settings: Settings, metrics: Metrics, sandbox_url: str | None, tracing: "Tracing | None" = None
) -> AsyncGenerator[TwelveLabs]:
    """Build the upstream, and close its connections in the end.

    Args:
        settings: the settings of the server.
        metrics: count what is deleted at the upstream.
        sandbox_url: the sandbox to use if the settings select it; None starts one in this process.
        tracing: records spans; None if tracing is off.

    Raises:
        RuntimeError: the packages of the sandbox are missing.
        OSError: the certificate authorities cannot be read.
    """
    async with contextlib.AsyncExitStack() as stack:
        upstream = settings.upstream
        key = upstream.api_key.get_secret_value() if upstream.api_key else None
        base_url = upstream.base_url
        if base_url is None:  # the server's key is never sent to a sandbox
            base_url, key = sandbox_url, secrets.token_hex(8)
        if base_url is None:
            base_url = await stack.enter_async_context(embedded_sandbox())
        # One context for all hosts: each takes 0.1 s and 1 MB, and the upstream chooses the hosts of chunks.
        dialer = functools.partial(
            Dialer, proxy=upstream.used_proxy, ca_file=upstream.ca, new_context=functools.cache(tls_context)
        )
        transport = Transport(dialer)
        stack.push_async_callback(transport.aclose)
        transport.prepare(base_url)
        user_agent = f"embedwire/{__version__}"
        new_client = HttpClient if tracing is None else tracing.client
        client, v2 = new_client(transport, upstream.name), V2Dialect(base_url, key, user_agent)
        assets, tasks = AssetStore(client, v2, settings.assets.deployment), TaskUpstream(client, v2)
        cleanup = AssetCleanup(assets, tasks, metrics, settings.assets.max_age, settings.assets.cleanup_interval)
        await stack.enter_async_context(cleanup.running(has_job=key is not None))
        keys = ResultKeys(base_url, key, has_urls=settings.cache.urls)
        router = Router(client, V1Dialect(base_url, key, user_agent), v2, assets, tasks)
        yield TwelveLabs(client, router, cleanup, keys)


@contextlib.asynccontextmanager
async def embedded_sandbox() -> AsyncGenerator[str]:
    """Run the sandbox as the upstream of this server; yield its base URL.

    Raises:
        RuntimeError: its packages are missing.
    """
    async with sandbox() as base_url:
        log.warning("using the embedded sandbox: its vectors are not those of the real model")
        yield base_url


def request_reader(settings: Settings, content_memory: ContentMemory) -> RequestReader:
    """Build the request reader; uploads are charged to this memory."""
    return RequestReader(
        settings.model_table,
        settings.limits,
        settings.concurrency.inputs_per_call,
        content_memory,
        settings.uploads.spool_dir,
        accepts_upstream_keys=settings.auth.allow_caller_api_keys,
    )
