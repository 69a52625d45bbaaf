"""Settings of the state that replicas share, and of results that are kept."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from embedwire_server.config.fields import DIVIDED, MIB, RELOADED, ByteCount, Count, Group, LongDuration, ValueName
from embedwire_server.config.redis_url import RedisUrl

MEMORY = "memory"


def _check_url(secret: SecretStr) -> RedisUrl:
    return RedisUrl(secret.get_secret_value())


def _check_store(secret: SecretStr) -> SecretStr | RedisUrl:
    text = secret.get_secret_value()
    if text != MEMORY and ":" not in text:
        raise ValueError("must be 'memory', or a URL of Redis such as redis://HOST:6379/0")
    return _Memory(MEMORY) if text == MEMORY else _check_url(secret)


class _Memory(SecretStr):
    """The store `memory`, which is no secret."""

    def _display(self) -> str:
        return self.get_secret_value()


class QuotaSettings(Group):
    """How replicas share the rate limits of the plan at the upstream."""

    store: Annotated[RedisUrl, ValueName("URL")] | None = Field(
        default=None,
        description="URL of the Redis server through which replicas share rate_limits; unset: each replica has all of "
        "them",
    )
    replicas: Count | None = Field(
        default=None,
        description="number of replicas that share rate_limits; while Redis is unavailable, each uses this part",
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
