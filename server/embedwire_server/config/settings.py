"""What an operator can set: one frozen value, checked. Secrets never show in a repr."""

import ssl
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from embedwire_server.auth.certificates import CertificateFiles
from embedwire_server.auth.tokens import Token
from embedwire_server.config import validation
from embedwire_server.config.validation import TWELVELABS_URL
from embedwire_server.core.address import Address, parse_address, parse_base_url
from embedwire_server.core.inputs import Limits
from embedwire_server.core.models import BUILT_IN, Modality, Model, ModelTable
from embedwire_server.policies.rate_limit.sliding_window import RateLimit
from embedwire_server.upstreams.http import proxies
from embedwire_server.upstreams.http.proxies import Proxy

SANDBOX = "sandbox"
MIB = 1 << 20
MIN_WORKER_MEMORY = 128  # MiB; one that has just started needs up to 100
_PERIODS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}
_DIVIDED = ("inputs_in_flight", "inputs_queued", "max_content_bytes")  # among workers, beside the rate limits

_MAX_COUNT = 1 << 53  # what a metric holds exactly
_MAX_INT = (1 << 31) - 1  # what an option of gRPC holds
_MAX_SECONDS = 1e9  # 30 years; clocks and timers hold it
_MAX_KEY_CHARS = 4096  # some servers refuse headers of 8 KiB

Count = Annotated[int, Field(ge=1, le=_MAX_COUNT)]
Seconds = Annotated[float, Field(ge=0, le=_MAX_SECONDS, allow_inf_nan=False), AfterValidator(abs)]  # -0.0 is 0.0
PositiveSeconds = Annotated[float, Field(gt=0, le=_MAX_SECONDS, allow_inf_nan=False)]


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
    """The URL of a proxy, or `none`; its credentials are not shown."""

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


def _with_lists(tokens: object) -> object:
    """One hash may be written without brackets."""
    if not isinstance(tokens, list | tuple):
        return tokens
    return [
        token | {"sha256": [token["sha256"]]}
        if isinstance(token, dict) and isinstance(token.get("sha256"), str)
        else token
        for token in tokens
    ]


class Settings(BaseModel):
    """Every setting with its default; `sources` reads them.

    Raises:
        ValidationError: a value is wrong; a `validation.SettingsConflict` if each is right and they do not go together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    FILE_ONLY: ClassVar = frozenset({"models", "tokens"})
    # What a running server can change to; the files of the certificate it reads anew by itself.
    RELOADED: ClassVar = frozenset(
        {
            *("models", "tokens", "accept_upstream_keys"),
            *("inputs_at_once", "inputs_in_flight", "inputs_queued", "max_content_bytes"),
            *("max_attempts", "retry_budget"),
            *("text_requests_per_minute", "text_requests_per_day", "image_requests_per_minute"),
            *("image_requests_per_day", "audio_requests_per_minute", "audio_requests_per_day"),
            *("audio_minutes_per_hour", "audio_minutes_per_day"),
            *("max_inputs", "max_image_bytes", "max_upload_bytes", "max_text_bytes", "max_url_chars"),
        }
    )

    listen: Annotated[str, AfterValidator(parse_address)] = Field(
        "127.0.0.1:50051", description="gRPC address", validate_default=True
    )
    metrics_listen: Annotated[str, AfterValidator(parse_address)] = Field(
        "127.0.0.1:9464", description="address of /metrics", validate_default=True
    )
    health_listen: Annotated[str, AfterValidator(parse_address)] | None = Field(
        None, description="address of a second port, for health checks alone, in plain text: for probes without TLS"
    )
    tls_certificate: FilePath | None = Field(
        None, description="PEM file with the server's certificate and the chain above it; unset: plain text"
    )
    tls_key: FilePath | None = Field(None, description="PEM file with the key of that certificate")
    tls_client_ca: FilePath | None = Field(
        None, description="PEM file with authorities; callers have to show a certificate of one of them"
    )
    insecure: bool = Field(
        default=False,
        description="accept plain text without authentication beyond loopback: a proxy or the network handles both",
    )
    reflection: bool = Field(default=True, description="tell tools such as grpcurl about the contract, without a token")
    upstream: Annotated[str, AfterValidator(_parse_upstream)] | None = Field(
        None,
        description="base URL of the upstream API, or 'sandbox'; unset: TwelveLabs if there is a key, else sandbox",
    )
    api_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(None, description="the upstream's API key")
    upstream_proxy: Annotated[SecretStr, AfterValidator(_check_proxy)] | None = Field(
        None,
        description="URL of the proxy for connections to the upstream, or 'none'; unset: HTTPS_PROXY, HTTP_PROXY, "
        "ALL_PROXY and NO_PROXY; loopback addresses and the sandbox never use one",
    )
    upstream_ca: Annotated[FilePath, AfterValidator(_check_authorities)] | None = Field(
        None, description="PEM file with authorities to trust for the upstream and its proxy, in place of the system's"
    )
    config: FilePath | None = Field(
        None, description="a TOML file with settings, [[tokens]], and [[models]] beside the built-in ones"
    )
    workers: Count = Field(1, description="processes that serve; what is limited for all calls is divided among them")
    worker_timeout: Annotated[float, Field(ge=1, le=_MAX_SECONDS, allow_inf_nan=False)] = Field(
        30.0, description="seconds after which a worker whose event loop does not respond is killed and replaced"
    )
    worker_max_memory: Annotated[int, Field(ge=MIN_WORKER_MEMORY, le=_MAX_COUNT)] | None = Field(
        None, description="MiB of resident memory beyond which a worker is replaced; unset: no limit"
    )
    worker_max_age: Annotated[float, Field(ge=1, le=_MAX_SECONDS, allow_inf_nan=False)] | None = Field(
        None, description="seconds after which a worker is replaced; unset: no limit"
    )
    grace: Seconds = Field(30.0, description="seconds that running calls get to finish after SIGTERM")
    drain_delay: Seconds = Field(0.0, description="seconds between failing health and refusing new calls")
    stall_timeout: PositiveSeconds = Field(
        60.0, description="seconds after which a caller that takes nothing from its stream is ended"
    )
    upload_idle_timeout: PositiveSeconds = Field(
        30.0, description="seconds in which 15,000 bytes of an upload, or the rest of its file, have to arrive"
    )
    max_connection_age: PositiveSeconds = Field(
        1800.0, description="seconds after which a connection is asked to reconnect, so that load spreads"
    )
    spool_dir: DirectoryPath | None = Field(None, description="where uploads are spooled; unset: the system's place")
    grpc_public_api_only: bool = Field(
        default=False, description="do without the private API of grpcio, which makes the server faster"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["text", "json"] = Field("text", description="how log lines are written")
    accept_upstream_keys: bool = Field(
        default=False, description="take callers' own upstream keys, in the metadata key x-upstream-api-key"
    )
    inputs_at_once: Count = Field(16, description="inputs of one call that run at a time")
    inputs_in_flight: Count = Field(64, description="inputs of one modality that run at a time, of all calls")
    inputs_queued: Annotated[int, Field(ge=0, le=_MAX_COUNT)] = Field(
        256, description="inputs of one modality that wait beside those; calls with more are refused"
    )
    max_content_bytes: Count = Field(256 * MIB, description="bytes of content in memory; calls with more are refused")
    max_attempts: Annotated[int, Field(ge=1, le=3)] = Field(3, description="upstream requests for one input")
    retry_budget: Annotated[float, Field(ge=0, le=1), AfterValidator(abs)] = Field(
        0.2, description="retries for each input on average, over a small reserve; none while most fail"
    )
    text_requests_per_minute: Count | None = Field(None, description="rate limit of the plan; unset: none")
    text_requests_per_day: Count | None = Field(None, description="rate limit of the plan; unset: none")
    image_requests_per_minute: Count | None = Field(None, description="rate limit of the plan; unset: none")
    image_requests_per_day: Count | None = Field(None, description="rate limit of the plan; unset: none")
    audio_requests_per_minute: Count | None = Field(None, description="rate limit of the plan; unset: none")
    audio_requests_per_day: Count | None = Field(None, description="rate limit of the plan; unset: none")
    audio_minutes_per_hour: Count | None = Field(None, description="minutes of media; unset: no limit")
    audio_minutes_per_day: Count | None = Field(None, description="minutes of media; unset: no limit")
    max_inputs: Count = Field(256, description="inputs in one call")
    max_message_bytes: Annotated[int, Field(ge=1, le=_MAX_INT)] = Field(
        16 * MIB, description="bytes of one request message"
    )
    max_image_bytes: Count = Field(32 * MIB, description="bytes of one image")
    max_upload_bytes: Count = Field(256 * MIB, description="bytes of one uploaded file")
    max_text_bytes: Count = Field(64 << 10, description="bytes of one text in UTF-8")
    max_url_chars: Count = Field(8192, description="characters of one URL")
    models: tuple[Model, ...] = Field((), description="further models, in the file only")
    tokens: Annotated[tuple[Token, ...], BeforeValidator(_with_lists)] = Field(
        (), description="the callers that are accepted, in the file only; unset: all"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _without_white_space(cls, value: object, info: ValidationInfo) -> object:
        """White space around a value is not part of it: files and YAML blocks tend to end in a newline."""
        name = info.field_name or ""
        if isinstance(value, bool) and cls.model_fields[name].annotation is not bool:
            raise ValueError(f"the value of {name} must not be true or false")
        if not isinstance(value, str):
            return value
        text = value.strip()
        if not text:
            raise ValueError(f"the value of {name} must not be empty; leave it out for the default")
        if not text.isprintable() and name != "api_key":  # whose own check says more
            raise ValueError(
                f"the value of {name} must be printable: no line break, control character or byte order mark in it"
            )
        return text

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if faults := [*validation.of(self)]:
            raise validation.SettingsConflict(faults)
        return self

    @property
    def divided(self) -> dict[str, int]:
        """What holds for all calls together, as far as it is configured."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name in _DIVIDED or "_per_" in name}
        return {name: value for name, value in values.items() if value is not None}

    def for_worker(self, index: int) -> Self:
        """What worker `index`, from 0, goes by: its share of what is divided, and its own port for metrics.

        The shares of all workers add up to what is configured, and differ by one at most.
        """

        def share(amount: int) -> int:
            return amount // self.workers + (index < amount % self.workers)

        tokens = tuple(token.divided(share) for token in self.tokens)
        port = self.metrics_address.port
        own = {"metrics_listen": self.metrics_address.with_port(port and port + index), "tokens": tokens}
        return self.model_copy(update=own | {name: share(amount) for name, amount in self.divided.items()})

    def renewed(self, other: Self) -> tuple[Self, list[str]]:
        """These settings with what of the others can be changed at run time, and the names of what cannot.

        Raises:
            ValidationError: they do not go together.
            SettingsConflict: there were tokens and are none; a file that is cut short must not open the server.
        """
        if self.tokens and not other.tokens:
            raise validation.SettingsConflict([(("tokens",), validation.OPENED)])
        values, others = dict(self), dict(other)
        fixed = [name for name in values if name not in self.RELOADED and values[name] != others[name]]
        return type(self)(**values | {name: others[name] for name in self.RELOADED}), fixed

    @property
    def has_supervisor(self) -> bool:
        """Whether workers serve, and a supervisor keeps and replaces them; else one process does all."""
        return self.workers > 1 or self.worker_max_memory is not None or self.worker_max_age is not None

    @property
    def certificate_files(self) -> CertificateFiles | None:
        """Where the certificate is; None serves in plain text."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return CertificateFiles(self.tls_certificate, self.tls_key, self.tls_client_ca)

    @property
    def listen_address(self) -> Address:
        """Where gRPC is served."""
        return Address(self.listen)

    @property
    def metrics_address(self) -> Address:
        """Where /metrics is served."""
        return Address(self.metrics_listen)

    @property
    def upstream_url(self) -> str | None:
        """The upstream's base URL; None means the embedded sandbox."""
        if self.upstream is None:
            return TWELVELABS_URL if self.api_key is not None else None
        return None if self.upstream == SANDBOX else self.upstream

    @property
    def upstream_name(self) -> str:
        """What metrics and results call the upstream."""
        if self.upstream_url is None:
            return SANDBOX
        return "twelvelabs" if self.upstream_url == TWELVELABS_URL else "custom"

    @property
    def proxy(self) -> Proxy | None:
        """What connections to the upstream go through; None connects directly."""
        if self.upstream_proxy is None or self.upstream_url is None or proxies.is_loopback(self.upstream_url):
            return None
        text = self.upstream_proxy.get_secret_value()
        return None if text == proxies.NONE else proxies.parse(text)

    @property
    def model_table(self) -> ModelTable:
        """The built-in models and those of the file."""
        return ModelTable((*BUILT_IN, *self.models))

    @property
    def rate_limits(self) -> dict[Modality, list[RateLimit]]:
        """What the plan at the upstream allows, as far as it is configured."""
        found: dict[Modality, list[RateLimit]] = {}
        for modality in Modality:
            for what in ("requests", "minutes"):
                for period, seconds in _PERIODS.items():
                    name = f"{modality}_{what}_per_{period}"
                    if (amount := getattr(self, name, None)) is not None:
                        limit = RateLimit(name.replace("_", " "), amount, seconds, is_media=what == "minutes")
                        found.setdefault(modality, []).append(limit)
        return found

    @property
    def room(self) -> dict[str, int]:
        """How much is taken on at a time, as `LoadShedder` names it."""
        return {
            "in_flight": self.inputs_in_flight,
            "queued": self.inputs_queued,
            "content_bytes": self.max_content_bytes,
        }

    @property
    def limits(self) -> Limits:
        """What a request may hold."""
        return Limits(
            inputs=self.max_inputs,
            image_bytes=self.max_image_bytes,
            upload_bytes=self.max_upload_bytes,
            text_bytes=self.max_text_bytes,
            url_chars=self.max_url_chars,
        )
