"""Settings of the state that replicas share, and of results that are kept."""

import urllib.parse
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from embedwire_server.config.fields import DIVIDED, MIB, RELOADED, ByteCount, Count, Group, LongDuration, ValueName

MEMORY = "memory"
_SCHEMES = ("redis", "rediss", "unix")


class RedisUrl(SecretStr):
    """URL of a Redis server; its text form masks the credentials."""

    def _display(self) -> str:
        parts = urllib.parse.urlsplit(self.get_secret_value())
        credentials, at, host = parts.netloc.rpartition("@")
        return urllib.parse.urlunsplit(parts._replace(netloc=f"{'***' if credentials else ''}{at}{host}", query=""))


def _check_url(secret: SecretStr) -> RedisUrl:
    parts = urllib.parse.urlsplit(secret.get_secret_value())
    if parts.scheme not in _SCHEMES:
        raise ValueError("must be a URL of Redis, such as redis://HOST:6379/0, rediss://HOST:6379/0 or unix:///PATH")
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError(f"must have a {'path' if parts.scheme == 'unix' else 'host'}")
    try:
        parts.port  # noqa: B018 - raises if it is not a number below 65536
    except ValueError as error:
        raise ValueError("must have a port from 1 to 65535") from error
    return RedisUrl(secret.get_secret_value())


def _check_store(secret: SecretStr) -> SecretStr | RedisUrl:
    return _Memory(MEMORY) if secret.get_secret_value() == MEMORY else _check_url(secret)


class _Memory(SecretStr):
    """The store `memory`, which is no secret."""

    def _display(self) -> str:
        return self.get_secret_value()


class QuotaSettings(Group):
    """How replicas share the rate limits of the plan at the upstream."""

    store: Annotated[SecretStr, AfterValidator(_check_url), ValueName("URL")] | None = Field(
        default=None,
        description="URL of the Redis server through which replicas share rate_limits; unset: each replica has all of "
        "them",
    )
    replicas: Count | None = Field(
        default=None,
        description="number of replicas that share rate_limits; without Redis, each uses this part of them",
    )


class CacheSettings(Group):
    """Reuse of results."""

    coalescing: bool = Field(
        default=False,
        description="send one upstream request for identical texts and images that are in flight at the same time; "
        "always on with a cache",
    )
    store: Annotated[SecretStr, AfterValidator(_check_store), ValueName("memory|URL")] | None = Field(
        default=None,
        description="where results are cached: 'memory', or the URL of a Redis server; unset: no cache",
    )
    max_bytes: Annotated[ByteCount, RELOADED, DIVIDED] = Field(
        default=64 * MIB, description="maximum size of the results in memory; Redis has its own limit, maxmemory"
    )
    max_age: Annotated[LongDuration, RELOADED] = Field(
        default=24 * 3600.0, description="time after which a cached result expires"
    )
    urls: Annotated[bool, RELOADED] = Field(
        default=False,
        description="cache results of media URLs as well, by the text of the URL: what is behind a URL may change",
    )
