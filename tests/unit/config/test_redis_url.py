"""URLs of Redis servers: their parts, what is rejected, and masked credentials."""

import subprocess
import sys

import pytest
from pydantic import SecretStr, ValidationError

from embedwire_server.config.redis_url import RedisUrl
from embedwire_server.config.store_settings import CacheSettings

PARTS = {
    "redis://h": (False, "", "h", 6379, 0, None, None),
    "redis://h:1/": (False, "", "h", 1, 0, None, None),
    "rediss://u:p@h:1/15": (True, "", "h", 1, 15, "u", "p"),
    "redis://:p%40%2F%3F@[::1]:1": (False, "", "::1", 1, 0, None, "p@/?"),
    "unix:///a%20b": (False, "/a b", "", 6379, 0, None, None),
    "unix://u:p@/s.sock?db=2": (False, "/s.sock", "", 6379, 2, "u", "p"),
}


@pytest.mark.parametrize("text", PARTS)
def test_parts(text: str) -> None:
    """All parts are found, with escapes replaced and defaults added."""
    url = RedisUrl(text)
    found = (url.is_tls, url.path, url.host, url.port, url.database, url.username, url.password)
    assert found == PARTS[text]


REJECTED = {
    "http://h": "must be a URL of Redis",
    "h:6379": "must be a URL of Redis",
    "redis://": "must have a host",
    "redis://:secret@": "must have a host",
    "redis:///0": "must have a host",
    "redis://h:0": "port from 1 to 65535",
    "redis://h:65536": "port from 1 to 65535",
    "redis://:sec/ret@h": "port from 1 to 65535",
    "redis://u:123/secret@h": "number of the database",
    "redis://:secret@h/a": "number of the database",
    "redis://h/-1": "number of the database",
    "redis://h/1/2": "number of the database",
    "redis://:secret@h?ssl_cert_reqs=none": "must not have a query",
    "redis://h/0?": "must not have a query",
    "redis://:sec#ret@h": "must not have a fragment",
    "redis://:secret\u2100@h": "must be a URL of Redis",
    "redis://:secret@[::1": "must be a URL of Redis",
    "unix://": "must have an absolute path",
    "unix://relative/path": "must have an absolute path",
    "unix:///s?password=secret": "must not have a query",
    "unix:///s?db=x": "number of the database",
}


@pytest.mark.parametrize("text", REJECTED)
def test_rejected(text: str) -> None:
    """What is not supported is rejected with a reason, which does not quote it."""
    with pytest.raises(ValueError, match=REJECTED[text]) as caught:
        RedisUrl(text)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["redis://user:secret@h:1/0", "redis://:secret@h:1/0", "unix://secret@/s?db=1"])
def test_credentials_are_masked(text: str) -> None:
    """No text form has the credentials; all have the rest."""
    url = RedisUrl(text)
    for shown in (str(url), repr(url), f"{url}"):
        assert "secret" not in shown
        assert "user" not in shown
        assert "***@" in shown
    assert str(RedisUrl("redis://h:1/0")) == "redis://h:1/0"


def test_a_missing_package() -> None:
    """Without the package redis, the error names the setting and the command that installs it."""
    program = """
import asyncio, sys
sys.modules["redis"] = None
from embedwire_server.config.redis_url import RedisUrl
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.redis_connection import RedisConnection
connection = RedisConnection(RedisUrl("redis://h"), "quota", Metrics("custom"))
asyncio.run(connection.running().__aenter__())
"""
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last == 'RuntimeError: quota.store needs the package redis: pip install "embedwire-server[redis]"'


@pytest.mark.parametrize("text", ["foo", "Memory"])
def test_unknown_stores(text: str) -> None:
    """A word that is no store gets an error that names both kinds."""
    with pytest.raises(ValidationError, match="must be 'memory', or a URL of Redis"):
        CacheSettings(store=SecretStr(text))
