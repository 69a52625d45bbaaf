"""What an operator can set: one frozen value, read from flags, then the environment, then a file.

The only reader of the environment. Secrets never show in a repr.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, DirectoryPath, Field, FilePath, HttpUrl, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from embedwire_server.domain import Limits, Modality, Model
from embedwire_server.models import BUILT_IN, ModelTable
from embedwire_server.upstream.policies.windows import RateLimit

TWELVELABS_URL = "https://api.twelvelabs.io/v1.3"
SANDBOX = "sandbox"
MIB = 1 << 20
LAST_PORT = 65535
_PERIODS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}
_DIVIDED = ("inputs_in_flight", "inputs_queued", "max_content_bytes")  # among workers, beside the rate limits
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Address(str):
    """HOST:PORT, for instance 127.0.0.1:50051 or [::1]:50051. Port 0 takes a free one."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """The part before the port, without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port, 0 to 65535."""
        return int(self.rpartition(":")[2])

    def with_port(self, port: int) -> "Address":
        """The same host, another port."""
        return Address(f"{self.rpartition(':')[0]}:{port}")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(text: str) -> Address:
    """Check HOST:PORT.

    Raises:
        ValueError: it is none; the text says what one looks like.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > LAST_PORT:
        raise ValueError("must be HOST:PORT, for instance 127.0.0.1:50051")
    return Address(text)


def _parse_upstream(text: str) -> str:
    if text == SANDBOX:
        return text
    url = HttpUrl(text)
    if url.query or url.fragment or url.username or url.password:
        raise ValueError("must be a base URL without user info, query and fragment, or the word sandbox")
    return text.rstrip("/")


def _check_key(key: SecretStr) -> SecretStr:
    secret = key.get_secret_value().strip()  # files of secrets tend to end in a newline
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("must be visible ASCII characters only")
    return SecretStr(secret)


class Settings(BaseSettings):
    """Every setting with its default. A field `metrics_listen` is the flag `--metrics-listen` and the
    variable EMBEDWIRE_METRICS_LISTEN.
    """  # noqa: D205 - two lines are one sentence too many

    model_config = SettingsConfigDict(
        env_prefix="EMBEDWIRE_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    listen: Annotated[str, AfterValidator(parse_address)] = Field(
        "127.0.0.1:50051", description="gRPC address", validate_default=True
    )
    metrics_listen: Annotated[str, AfterValidator(parse_address)] = Field(
        "127.0.0.1:9464", description="address of /metrics", validate_default=True
    )
    upstream: Annotated[str, AfterValidator(_parse_upstream)] | None = Field(
        None,
        description="base URL of the upstream API, or 'sandbox'; unset: TwelveLabs if there is a key, else sandbox",
    )
    api_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        None, validation_alias="TWELVELABS_API_KEY", description="the upstream's API key"
    )
    config: FilePath | None = Field(
        None, description="a TOML file with settings, and [[models]] beside the built-in ones"
    )
    workers: Count = Field(1, description="processes that serve; what is limited for all calls is divided among them")
    grace: Seconds = Field(30.0, description="seconds that running calls get to finish after SIGTERM")
    drain_delay: Seconds = Field(0.0, description="seconds between failing health and refusing new calls")
    stall_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        60.0, description="seconds after which a caller that takes nothing from its stream is ended"
    )
    max_connection_age: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1800.0, description="seconds after which a connection is asked to reconnect, so that load spreads"
    )
    spool_dir: DirectoryPath | None = Field(None, description="where uploads are spooled; unset: the system's place")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["text", "json"] = Field("text", description="how log lines are written")
    accept_upstream_keys: bool = Field(
        default=False, description="take callers' own upstream keys, in the metadata key x-upstream-api-key"
    )
    inputs_at_once: Count = Field(16, description="inputs of one call that run at a time")
    inputs_in_flight: Count = Field(64, description="inputs of one modality that run at a time, of all calls")
    inputs_queued: Annotated[int, Field(ge=0)] = Field(
        256, description="inputs of one modality that wait beside those; calls with more are refused"
    )
    max_content_bytes: Count = Field(256 * MIB, description="bytes of content in memory; calls with more are refused")
    max_attempts: Annotated[int, Field(ge=1, le=3)] = Field(3, description="upstream requests for one input")
    retry_budget: Annotated[float, Field(ge=0, le=1)] = Field(
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
    max_message_bytes: Count = Field(16 * MIB, description="bytes of one request message")
    max_image_bytes: Count = Field(32 * MIB, description="bytes of one image")
    max_upload_bytes: Count = Field(256 * MIB, description="bytes of one uploaded file")
    max_text_bytes: Count = Field(64 << 10, description="bytes of one text in UTF-8")
    max_url_chars: Count = Field(8192, description="characters of one URL")
    models: Annotated[tuple[Model, ...], NoDecode] = Field((), description="further models, in the file only")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class names it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class names it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, file: the first that names a setting decides it."""
        flags = init_settings.init_kwargs if isinstance(init_settings, InitSettingsSource) else {}
        path = flags.get("config") or env_settings().get("config")
        if path is None or not Path(path).is_file():  # a missing one is reported where `config` is checked
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        self.model_table  # noqa: B018 - raises if two models share a name
        if self.upstream is None and self.api_key is None and not self.listen_address.is_loopback:
            raise ValueError(
                "beyond loopback the sandbox is no default, so that its vectors end up in no real index: "
                "set TWELVELABS_API_KEY, or --upstream (a URL, or 'sandbox' on purpose)"
            )
        if self.upstream_url == TWELVELABS_URL and self.api_key is None:
            raise ValueError("the TwelveLabs API needs a key: set TWELVELABS_API_KEY")
        self._workers_have_enough()
        return self

    def _workers_have_enough(self) -> None:
        for name, amount in self._divided.items():
            if name != "inputs_queued" and amount < self.workers:
                raise ValueError(f"workers must be at most {amount}: {name.replace('_', '-')} is divided among them")
        if self.max_content_bytes // self.workers < self.max_message_bytes:
            raise ValueError(
                "max-content-bytes must be at least max-message-bytes for each worker, "
                "or some calls could never be taken on"
            )
        if self.metrics_address.port and self.metrics_address.port + self.workers - 1 > LAST_PORT:
            raise ValueError("metrics-listen: every worker needs a port of its own, and these go beyond 65535")

    @property
    def _divided(self) -> dict[str, int]:
        """What holds for all calls together, as far as it is configured."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name in _DIVIDED or "_per_" in name}
        return {name: value for name, value in values.items() if value is not None}

    def for_worker(self, index: int) -> Self:
        """What worker `index`, from 0, goes by: its share of what is divided, and its own port for metrics.

        The shares of all workers add up to what is configured, and differ by one at most.
        """
        shares = {
            name: amount // self.workers + (index < amount % self.workers) for name, amount in self._divided.items()
        }
        port = self.metrics_address.port
        metrics_listen = self.metrics_address.with_port(port and port + index)
        return self.model_copy(update={"metrics_listen": metrics_listen, **shares})

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
    def limits(self) -> Limits:
        """What a request may hold."""
        return Limits(
            inputs=self.max_inputs,
            image_bytes=self.max_image_bytes,
            upload_bytes=self.max_upload_bytes,
            text_bytes=self.max_text_bytes,
            url_chars=self.max_url_chars,
        )
