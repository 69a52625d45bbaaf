"""All settings, as one immutable model. Secrets appear in no repr."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, FilePath
from pydantic.fields import FieldInfo

from embedwire_server.auth.tokens import Token
from embedwire_server.config.fields import DIVIDED, DURATION, RELOADED, Group, Marker
from embedwire_server.config.groups import (
    AuthSettings,
    ConcurrencySettings,
    HealthSettings,
    LogSettings,
    MetricsSettings,
    RateLimitSettings,
    RequestLimits,
    RetrySettings,
    ServerSettings,
    ShutdownSettings,
    TlsSettings,
    UploadsSettings,
    UpstreamSettings,
    WorkersSettings,
)
from embedwire_server.core.inputs import Limits
from embedwire_server.core.models import BUILT_IN, Model, ModelTable

PREFIX = "EMBEDWIRE_"
KEY_VARIABLE = "TWELVELABS_API_KEY"
FILE_ONLY = frozenset({"models", "tokens"})
API_KEY = "api_key"
# Settings that every deployment sets have short names as flags and variables.
_SHORT: Mapping[tuple[str, ...], str] = {
    ("server", "listen"): "listen",
    ("server", "allow_insecure"): "insecure",
    ("upstream", "url"): "upstream",
    ("upstream", "api_key"): "api_key",  # never a flag; its variable is the one of the official SDK
    ("workers", "count"): "workers",
}


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

    config: FilePath | None = Field(
        default=None, description="a TOML file with settings, [[tokens]], and [[models]] beside the built-in ones"
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
    retry: RetrySettings = Field(default_factory=RetrySettings)
    rate_limits: RateLimitSettings = Field(default_factory=RateLimitSettings)
    request_limits: RequestLimits = Field(default_factory=RequestLimits)
    models: Annotated[tuple[Model, ...], RELOADED] = Field(
        default=(), description="additional models, in the file only"
    )
    tokens: Annotated[tuple[Token, ...], BeforeValidator(_with_lists), RELOADED] = Field(
        default=(), description="tokens of accepted clients, in the file only; unset: any client"
    )

    @property
    def model_table(self) -> ModelTable:
        """Table of the built-in models and those of the file."""
        return ModelTable((*BUILT_IN, *self.models))

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


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """Metadata of one setting.

    Attributes:
        path: names of its groups and of its field.
        field: declaration of the field.
    """

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def name(self) -> str:
        """Name from which the flag and the variable are formed, such as shutdown_grace_period."""
        return _SHORT.get(self.path, "_".join(self.path))

    @property
    def key(self) -> str:
        """Key in the file, such as shutdown.grace_period."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """Command-line flag."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Environment variable."""
        return KEY_VARIABLE if self.name == API_KEY else PREFIX + self.name.upper()

    @property
    def is_duration(self) -> bool:
        """Whether it is a number of seconds."""
        return self.has(DURATION)

    def has(self, marker: Marker) -> bool:
        """Whether its declaration has this marker."""
        return marker in self.field.metadata

    def of(self, settings: Settings) -> Any:  # noqa: ANN401 - whatever its type is
        """Return the value of this setting."""
        return functools.reduce(getattr, self.path, settings)


def _declared(group: type[Group], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    for name, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Group):
            yield from _declared(kind, (*path, name))
        else:
            yield Setting((*path, name), field)


ALL: Mapping[str, Setting] = {setting.name: setting for setting in _declared(Settings)}
BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in ALL.values()}
RELOADABLE = tuple(setting for setting in ALL.values() if setting.has(RELOADED))
SHARED = tuple(setting for setting in ALL.values() if setting.has(DIVIDED))


def nested(values: Mapping[str, object]) -> dict[str, Any]:
    """Move values, named as flags, into their groups. Unknown names stay at the top."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = ALL[name].path if name in ALL else (name,)
        table = found
        for group in groups:
            table = table.setdefault(group, {})
        table[last] = value
    return found


def changed(settings: Settings, values: Mapping[str, object]) -> Settings:
    """Return the settings with other values, named as flags, which must be valid."""
    found: Settings = _changed(settings, nested(values))
    return found


def _changed(group: Group, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the type of the group
    update = {
        name: _changed(old, value) if isinstance(old := getattr(group, name), Group) else value
        for name, value in values.items()
    }
    return group.model_copy(update=update)
