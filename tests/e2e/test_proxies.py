"""The proxy for an upstream: URLs, environment variables, NO_PROXY, and the setting."""

import base64
from pathlib import Path
from typing import Any

import pytest
import trustme

from embedwire_server.config import render, sources
from embedwire_server.config.errors import InvalidConfiguration
from embedwire_server.core import proxies
from tests.support.serving import settings_of

URL = "https://api.upstream.test/v1.3"
SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "shown", "user"),
    [
        ("http://proxy.test:3128", "http://proxy.test:3128", None),
        ("http://proxy.test:3128/", "http://proxy.test:3128", None),
        ("proxy.test:3128", "http://proxy.test:3128", None),
        ("HTTP://Proxy.Test", "http://proxy.test:80", None),
        ("https://proxy.test", "https://proxy.test:443", None),
        ("http://[::1]:3128", "http://[::1]:3128", None),
        ("http://me:hunter2@proxy.test:1", "http://***@proxy.test:1", b"me:hunter2"),
        ("http://me:h%40%3a%2Fu@proxy.test:1", "http://***@proxy.test:1", b"me:h@:/u"),
        ("http://me:a@b/c?#@proxy.test:1", "http://***@proxy.test:1", b"me:a@b/c?#"),
        ("http://%C3%A9@proxy.test:1", "http://***@proxy.test:1", "\u00e9:".encode()),
    ],
)
def test_urls_of_proxies(text: str, shown: str, user: bytes | None) -> None:
    """A proxy URL is read in every usual form; its credentials are decoded and not shown."""
    proxy = proxies.parse(text)
    assert (str(proxy), proxy.user) == (shown, user)
    assert SECRET not in repr(proxy)
    expected = () if user is None else ((b"Proxy-Authorization", b"Basic " + base64.b64encode(user)),)
    assert proxy.headers == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("socks5://me:hunter2@proxy.test:1080", "SOCKS proxies are not supported"),
        ("SOCKS4a://proxy.test:1080", "SOCKS proxies are not supported"),
        ("ftp://me:hunter2@proxy.test", "scheme must be http or https"),
        ("http://me:hunter2@proxy.test:3128/path", "without path"),
        ("http://me:hunter2@", "must be the URL of a proxy"),
        ("http://me:hunter2@proxy.test:99999", "must be the URL of a proxy"),
        ("http://me:hunter2@pro xy.test", "must be the URL of a proxy"),
        ("http://proxy.test?hunter2", "must be the URL of a proxy"),
    ],
)
def test_invalid_proxy_urls(text: str, words: str) -> None:
    """An invalid proxy URL is refused without being quoted."""
    with pytest.raises(ValueError, match=words) as caught:
        proxies.parse(text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        (URL, {}, None),
        (URL, {"HTTPS_PROXY": "a"}, "HTTPS_PROXY"),
        (URL, {"https_proxy": "a", "HTTPS_PROXY": "b"}, "https_proxy"),
        (URL, {"https_proxy": "", "HTTPS_PROXY": "b"}, None),
        (URL, {"HTTP_PROXY": "a", "http_proxy": "a"}, None),
        (URL, {"ALL_PROXY": "a"}, "ALL_PROXY"),
        (URL, {"ALL_PROXY": "a", "all_proxy": "a", "HTTPS_PROXY": "b"}, "HTTPS_PROXY"),
        (URL, {"HTTPS_PROXY": "a", "NO_PROXY": "upstream.test"}, None),
        (URL, {"HTTPS_PROXY": "a", "NO_PROXY": "upstream.test", "no_proxy": "other.test"}, "HTTPS_PROXY"),
        ("http://api.test", {"HTTP_PROXY": "a"}, "HTTP_PROXY"),
        ("http://api.test", {"HTTP_PROXY": "a", "REQUEST_METHOD": "GET"}, None),
        ("http://api.test", {"http_proxy": "a", "REQUEST_METHOD": "GET"}, "http_proxy"),
        ("http://api.test", {"HTTPS_PROXY": "a"}, None),
    ],
)
def test_variables(url: str, environment: dict[str, str], expected: str | None) -> None:
    """The scheme's variable overrides ALL_PROXY; lower case overrides upper; HTTP_PROXY is ignored in CGI scripts."""
    assert proxies.variable_for(url, environment) == expected


@pytest.mark.parametrize(
    ("host", "entries", "expected"),
    [
        ("api.test", "*", True),
        ("api.test", "", False),
        ("api.test", "api.test", True),
        ("api.test", "API.Test.", True),
        ("a.api.test", "api.test", True),
        ("a.api.test", ".api.test", True),
        ("a.api.test", "*.api.test", True),
        ("api.test", ".api.test", True),
        ("myapi.test", "api.test", False),
        ("api.test", "other.test, api.test", True),
        ("api.test", "other.test api.test", True),
        ("api.test", "api.test:443", True),
        ("api.test:8443", "api.test:443", False),
        ("api.test:8443", "api.test:8443", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3:8443", "10.1.2.3:8443", True),
        ("10.1.2.3", "1.2.3", False),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]:8443", "[fd00::1]:8443", True),
        ("[fd00::1]:8443", "[fd00::1]:443", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fe00::1]", "fd00::/8", False),
        ("api.test", "10.0.0.0/8,:443,/,.,[", False),
    ],
)
def test_no_proxy(host: str, entries: str, expected: bool) -> None:  # noqa: FBT001 - a column
    """Every form of an entry of NO_PROXY is matched; any other matches nothing."""
    assert proxies.is_excluded(f"https://{host}/v1.3", entries) is expected


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost", "a.localhost", "[::ffff:127.0.0.1]"])
def test_loopback_uses_no_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream on this machine is connected to directly, whatever the setting and the environment contain."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    assert sources.load({"upstream": f"http://{host}:1"}).settings.upstream.used_proxy is None
    chosen: dict[str, Any] = {"upstream": f"http://{host}:1", "upstream_proxy": "http://proxy.test:3128"}
    assert settings_of(**chosen).upstream.used_proxy is None


def test_the_sandbox_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded sandbox is connected to directly, and an invalid proxy is then ignored."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.test")
    assert sources.load({"upstream": "sandbox"}).settings.upstream.used_proxy is None


def test_the_setting_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting, also `none`, overrides the environment and NO_PROXY; `config` shows the source of the proxy."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@env.test:3128")
    loaded = sources.load({"upstream": URL})
    assert str(loaded.settings.upstream.used_proxy) == "http://***@env.test:3128"
    shown = "\n".join(render.shown(loaded))
    assert 'proxy = "http://***@env.test:3128"  # HTTPS_PROXY' in shown
    assert SECRET not in shown + repr(loaded)

    monkeypatch.setenv("NO_PROXY", "*")
    assert sources.load({"upstream": URL}).settings.upstream.used_proxy is None
    chosen = {"upstream": URL, "upstream_proxy": f"http://me:{SECRET}@set.test:3128"}
    assert str(sources.load(chosen).settings.upstream.used_proxy) == "http://***@set.test:3128"
    assert sources.load({"upstream": URL, "upstream_proxy": "none"}).settings.upstream.used_proxy is None


@pytest.mark.parametrize(
    ("flags", "variable", "place"),
    [
        ({"upstream_proxy": f"socks5://me:{SECRET}@proxy.test"}, "", "--upstream-proxy"),
        ({}, "HTTPS_PROXY", "HTTPS_PROXY"),
        ({}, "all_proxy", "all_proxy"),
        ({}, "EMBEDWIRE_UPSTREAM_PROXY", "EMBEDWIRE_UPSTREAM_PROXY"),
    ],
)
def test_a_socks_proxy_is_refused(
    flags: dict[str, str], variable: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the setting or variable to change, and quotes no credentials."""
    if variable:
        monkeypatch.setenv(variable, f"socks5://me:{SECRET}@proxy.test")
    with pytest.raises(InvalidConfiguration, match=f"^{place}: SOCKS proxies are not supported") as caught:
        sources.load({"upstream": URL} | flags)
    assert SECRET not in str(caught.value)


def test_authorities_are_checked(tmp_path: Path) -> None:
    """A file of authorities that OpenSSL does not load prevents the start."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(InvalidConfiguration, match="--upstream-ca: holds no certificates in PEM form"):
        sources.load({"upstream_ca": str(path)})
    trustme.CA().cert_pem.write_to_path(str(path))
    assert sources.load({"upstream_ca": str(path)}).settings.upstream.ca == path
