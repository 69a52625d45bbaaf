"""Settings by group. Each is declared once: type, default, help, and whether it is reloadable or divided."""

import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
)

from embedwire_server.auth.certificates import CertificateFiles
from embedwire_server.auth.tokens import Token
from embedwire_server.config.fields import (
    DIVIDED,
    DURATION,
    MAX_COUNT,
    MIB,
    RELOADED,
    ByteCount,
    Count,
    Duration,
    ExistingDirectory,
    ExistingFile,
    Group,
    ListenAddress,
    LongDuration,
    PositiveDuration,
    ValueName,
)
from embedwire_server.config.store_settings import CacheSettings, QuotaSettings
from embedwire_server.core import proxies
from embedwire_server.core.address import Address, parse_base_url
from embedwire_server.core.inputs import Limits
from embedwire_server.core.models import BUILT_IN, ApiVersion, Model, ModelTable
from embedwire_server.core.proxies import Proxy

SANDBOX = "sandbox"
TWELVELABS_URL = "https://api.twelvelabs.io/v1.3"
MAX_UPLOAD_BYTES = 4 << 30  # the most that the upstream accepts for audio
MIN_WORKER_MEMORY = 128  # MiB; a new worker needs up to 100

_MAX_INT = (1 << 31) - 1  # largest value of a gRPC option
_MAX_KEY_CHARS = 4096  # some servers reject headers of 8 KiB


class ServerSettings(Group):
    """The gRPC server."""

    listen: ListenAddress = Field(default="127.0.0.1:50051", description="address of the gRPC server")
    allow_insecure: bool = Field(
        default=False,
        description="accept plaintext connections without authentication on a non-loopback address; a proxy or the "
        "network must handle both",
    )
    reflection: bool = Field(default=True, description="serve gRPC reflection, for tools such as grpcurl")
    write_stall_timeout: PositiveDuration = Field(
        default=60.0, description="abort a call whose client has read nothing for this long"
    )
    max_connection_age: PositiveDuration = Field(
        default=1800.0,
        description="close a connection of this age gracefully (GOAWAY), so that clients reconnect and load spreads",
    )
    grpc_public_api_only: bool = Field(default=False, description="use the public API of grpcio only; slower")

    @property
    def address(self) -> Address:
        """Address of the gRPC server."""
        return Address(self.listen)


class MetricsSettings(Group):
    """The HTTP port for metrics, probes and the status page."""

    listen: ListenAddress = Field(
        default="127.0.0.1:9464",
        description="address of the HTTP port for /metrics, the probes /livez and /readyz, and the status page /",
    )
    status_page: bool = Field(default=True, description="serve the status page, which needs no authentication")

    @property
    def address(self) -> Address:
        """Address of the HTTP port."""
        return Address(self.listen)


class HealthSettings(Group):
    """Separate port for health checks."""

    listen: ListenAddress | None = Field(
        default=None,
        description="address of a plaintext port for health checks only, for probes without TLS; unset: no such port",
    )


class TlsSettings(Group):
    """TLS of the gRPC server."""

    certificate: ExistingFile | None = Field(
        default=None, description="PEM file with the server's certificate and its chain; unset: plaintext"
    )
    key: ExistingFile | None = Field(default=None, description="PEM file with the private key of the certificate")
    client_ca: ExistingFile | None = Field(
        default=None,
        description="PEM file with CA certificates; clients must present a certificate of one of these (mutual TLS)",
    )

    @property
    def files(self) -> CertificateFiles | None:
        """Files of the certificate; None means plaintext."""
        if self.certificate is None or self.key is None:
            return None
        return CertificateFiles(self.certificate, self.key, self.client_ca)


class AuthSettings(Group):
    """Credentials that are accepted from callers."""

    allow_caller_api_keys: Annotated[bool, RELOADED] = Field(
        default=False, description="accept upstream API keys of clients, in the metadata key x-upstream-api-key"
    )


def _parse_upstream(text: str) -> str:
    return text if text == SANDBOX else parse_base_url(text)


def _check_key(key: SecretStr) -> SecretStr:
    secret = key.get_secret_value()
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("must be visible ASCII characters only")
    if len(secret) > _MAX_KEY_CHARS:
        raise ValueError(f"must have at most {_MAX_KEY_CHARS} characters")
    return key


class ProxySetting(SecretStr):
    """URL of a proxy, or `none`; its text form masks the credentials."""

    def _display(self) -> str:
        text = self.get_secret_value()
        return text if text == proxies.NONE else str(proxies.parse(text))


def _check_proxy(setting: SecretStr) -> ProxySetting:
    text = setting.get_secret_value()
    if text != proxies.NONE:
        proxies.parse(text)
    return ProxySetting(text)


def _check_authorities(path: Path) -> Path:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError("holds no certificates in PEM form") from error
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    return path


class UpstreamSettings(Group):
    """The upstream and the connections to it."""

    url: Annotated[str, AfterValidator(_parse_upstream), ValueName("URL|sandbox")] | None = Field(
        default=None,
        description="base URL of the upstream API, or 'sandbox'; unset: TwelveLabs if there is an API key, else the "
        "sandbox",
    )
    api_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        default=None, description="API key of the upstream"
    )
    proxy: Annotated[SecretStr, AfterValidator(_check_proxy), ValueName("URL|none")] | None = Field(
        default=None,
        description="URL of the proxy for connections to the upstream, or 'none'; unset: HTTPS_PROXY, HTTP_PROXY, "
        "ALL_PROXY and NO_PROXY; never used for loopback addresses and the sandbox",
    )
    ca: Annotated[ExistingFile, AfterValidator(_check_authorities)] | None = Field(
        default=None,
        description="PEM file with CA certificates to trust for the upstream and its proxy, instead of the system's",
    )

    api_version: Annotated[Literal["auto", "v1", "v2"], RELOADED] = Field(
        default="auto",
        description="version of the Embed API for models that both versions have; auto: v1, and v2 for what v1 does "
        "not support",
    )

    @property
    def base_url(self) -> str | None:
        """The upstream's base URL; None means the embedded sandbox."""
        if self.url is None:
            return TWELVELABS_URL if self.api_key is not None else None
        return None if self.url == SANDBOX else self.url

    @property
    def name(self) -> str:
        """Name of the upstream in metrics and results."""
        if self.base_url is None:
            return SANDBOX
        return "twelvelabs" if self.base_url == TWELVELABS_URL else "custom"

    @property
    def used_proxy(self) -> Proxy | None:
        """Proxy for connections to the upstream; None connects directly."""
        if self.proxy is None or self.base_url is None or proxies.is_loopback(self.base_url):
            return None
        text = self.proxy.get_secret_value()
        return None if text == proxies.NONE else proxies.parse(text)


class WorkersSettings(Group):
    """The worker processes."""

    count: Count = Field(
        default=1,
        description="number of worker processes; they share rate_limits, other process-wide limits are divided among "
        "them",
    )
    timeout: LongDuration = Field(
        default=30.0, description="kill and replace a worker whose event loop does not respond for this long"
    )
    max_memory: Annotated[int, Field(ge=MIN_WORKER_MEMORY, le=MAX_COUNT), ValueName("MIB")] | None = Field(
        default=None, description="replace a worker whose resident memory exceeds this many MiB; unset: no limit"
    )
    max_age: Annotated[LongDuration | None, DURATION] = Field(
        default=None, description="replace a worker of this age; unset: no limit"
    )

    @property
    def have_supervisor(self) -> bool:
        """Whether a supervisor starts and replaces workers; else a single process serves."""
        return self.count > 1 or self.max_memory is not None or self.max_age is not None


class ShutdownSettings(Group):
    """Graceful shutdown after SIGTERM."""

    grace_period: Duration = Field(default=30.0, description="time for running calls to finish")
    delay: Duration = Field(default=0.0, description="time between reporting NOT_SERVING and rejecting new calls")


class UploadsSettings(Group):
    """Uploads."""

    idle_timeout: PositiveDuration = Field(
        default=30.0,
        description="abort an upload if fewer than 15,000 bytes, or less than the rest of its file, arrive in this "
        "time",
    )
    spool_dir: ExistingDirectory | None = Field(
        default=None, description="directory for spooled uploads; unset: the system's temporary directory"
    )


class AssetsSettings(Group):
    """Assets: files that the upstream keeps while it embeds them."""

    deployment: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$"), ValueName("NAME")] = Field(
        default="default",
        description="name of this deployment, in the file names of its assets; all replicas have the same, and other "
        "deployments with the same upstream account have others",
    )
    max_age: LongDuration = Field(
        default=24 * 3600.0,
        description="delete assets of this deployment that are older than this and that a crash has left behind; must "
        "be longer than any call",
    )
    cleanup_interval: LongDuration = Field(default=3600.0, description="time between two runs of that deletion")


class LogSettings(Group):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="minimum log level")
    format: Literal["text", "json"] = Field(default="text", description="log format")


class ConcurrencySettings(Group):
    """Limits on concurrency and memory."""

    inputs_per_call: Annotated[Count, RELOADED] = Field(
        default=16, description="maximum number of concurrent inputs of one call"
    )
    inputs_per_modality: Annotated[Count, RELOADED, DIVIDED] = Field(
        default=64,
        description="maximum number of concurrent inputs of one modality and credential, in all calls; tasks that the "
        "upstream processes do not count",
    )
    queue_per_modality: Annotated[int, Field(ge=0, le=MAX_COUNT), RELOADED, DIVIDED] = Field(
        default=256, description="maximum number of queued inputs of one modality; calls above it are rejected"
    )
    max_buffered_bytes: Annotated[ByteCount, RELOADED, DIVIDED] = Field(
        default=256 * MIB, description="maximum size of content in memory; calls above it are rejected"
    )


class RetrySettings(Group):
    """Retries of upstream requests."""

    max_attempts: Annotated[int, Field(ge=1, le=3), RELOADED] = Field(
        default=3, description="maximum number of upstream requests for one input"
    )
    budget_ratio: Annotated[float, Field(ge=0, le=1), AfterValidator(abs), RELOADED, ValueName("RATIO")] = Field(
        default=0.2,
        description="retry budget: average number of retries for each input, beyond a small reserve; none while most "
        "attempts fail",
    )


_Limit = Annotated[Count | None, RELOADED]
_OF_PLAN = "rate limit of the upstream plan; unset: no limit"
_OF_MEDIA = "rate limit of the upstream plan, in minutes of audio; unset: no limit"


class RequestRateLimits(Group):
    """Rate limits of a modality."""

    requests_per_minute: _Limit = Field(default=None, description=_OF_PLAN)
    requests_per_day: _Limit = Field(default=None, description=_OF_PLAN)


class AudioRateLimits(RequestRateLimits):
    """Rate limits of audio."""

    media_minutes_per_hour: _Limit = Field(default=None, description=_OF_MEDIA)
    media_minutes_per_day: _Limit = Field(default=None, description=_OF_MEDIA)


class RateLimitSettings(Group):
    """The rate limits of the plan at the upstream."""

    text: RequestRateLimits = Field(default_factory=RequestRateLimits)
    image: RequestRateLimits = Field(default_factory=RequestRateLimits)
    audio: AudioRateLimits = Field(default_factory=AudioRateLimits)


class RequestLimits(Group):
    """Limits of one request."""

    inputs: Annotated[Count, RELOADED] = Field(default=256, description="maximum number of inputs in one call")
    message_bytes: Annotated[int, Field(ge=1, le=_MAX_INT), ValueName("BYTES")] = Field(
        default=16 * MIB, description="maximum size of one request message"
    )
    image_bytes: Annotated[ByteCount, RELOADED] = Field(default=32 * MIB, description="maximum size of one image")
    upload_bytes: Annotated[int, Field(ge=1, le=MAX_UPLOAD_BYTES), ValueName("BYTES"), RELOADED] = Field(
        default=256 * MIB, description="maximum size of one uploaded file"
    )
    text_bytes: Annotated[ByteCount, RELOADED] = Field(
        default=64 << 10, description="maximum size of one text in UTF-8"
    )
    url_chars: Annotated[Count, RELOADED] = Field(default=8192, description="maximum length of one URL, in characters")


def _with_lists(tokens: object) -> object:
    """Accept a single hash without brackets."""
    if not isinstance(tokens, list | tuple):
        return tokens
    return [
        token | {"sha256": [token["sha256"]]}
        if isinstance(token, dict) and isinstance(token.get("sha256"), str)
        else token
        for token in tokens
    ]


class Settings(Group):
    """All settings with their defaults; `sources` reads them, `validation` checks combinations.

    Raises:
        ValidationError: a value is invalid.
    """

    config: ExistingFile | None = Field(
        default=None, description="TOML file with settings, [[tokens]] and additional [[models]]"
    )
    server: ServerSettings = Field(default_factory=ServerSettings)
    tls: TlsSettings = Field(default_factory=TlsSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    health: HealthSettings = Field(default_factory=HealthSettings)
    upstream: UpstreamSettings = Field(default_factory=UpstreamSettings)
    workers: WorkersSettings = Field(default_factory=WorkersSettings)
    shutdown: ShutdownSettings = Field(default_factory=ShutdownSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    concurrency: ConcurrencySettings = Field(default_factory=ConcurrencySettings)
    uploads: UploadsSettings = Field(default_factory=UploadsSettings)
    assets: AssetsSettings = Field(default_factory=AssetsSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    rate_limits: RateLimitSettings = Field(default_factory=RateLimitSettings)
    quota: QuotaSettings = Field(default_factory=QuotaSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    request_limits: RequestLimits = Field(default_factory=RequestLimits)
    models: Annotated[tuple[Model, ...], RELOADED] = Field(
        default=(), description="additional models, in the file only"
    )
    tokens: Annotated[tuple[Token, ...], BeforeValidator(_with_lists), RELOADED] = Field(
        default=(), description="bearer tokens of accepted clients, in the file only; unset: any client"
    )

    @property
    def model_table(self) -> ModelTable:
        """Table of the built-in models and those of the file, as the selected version of the API supports them."""
        version = self.upstream.api_version
        rows = (*BUILT_IN, *self.models)
        return ModelTable(rows if version == "auto" else [row.on(ApiVersion(version)) for row in rows])

    @property
    def rate_limit_shares(self) -> int:
        """Number of workers of all replicas, which share the rate limits.

        Each uses this part of them while the usage of the others is unknown.
        """
        return (self.quota.replicas or 1) * self.workers.count

    @property
    def limits(self) -> Limits:
        """Limits of one request."""
        found = self.request_limits
        return Limits(
            inputs=found.inputs,
            image_bytes=found.image_bytes,
            upload_bytes=found.upload_bytes,
            text_bytes=found.text_bytes,
            url_chars=found.url_chars,
        )
