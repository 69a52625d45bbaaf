"""Upstream URL and API key."""

from typing import Any

import pytest

from embedwire_server.config.settings import TWELVELABS_URL
from tests.unit.config.support import SECRET, faults, load


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("show", [repr, str, lambda settings: f"{dict(settings)}"], ids=["repr", "str", "dict"])
def test_secret(show: Any) -> None:
    """The key can be read from the settings but is in none of their text representations."""
    settings = load()
    assert SECRET not in show(settings)
    assert "**********" in show(settings)
    assert settings.upstream.api_key is not None
    assert settings.upstream.api_key.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("upstream", "url", "name"),
    [
        pytest.param(None, TWELVELABS_URL, "twelvelabs", id="unset"),
        pytest.param("sandbox", None, "sandbox", id="sandbox on purpose"),
        pytest.param(TWELVELABS_URL, TWELVELABS_URL, "twelvelabs", id="TwelveLabs"),
        pytest.param(TWELVELABS_URL + "/", TWELVELABS_URL, "twelvelabs", id="TwelveLabs with a slash"),
        pytest.param("http://127.0.0.1:8400/v1.3", "http://127.0.0.1:8400/v1.3", "custom", id="custom"),
        pytest.param("https://[::1]/v1.3//", "https://[::1]/v1.3", "custom", id="custom, IPv6, slashes"),
    ],
)
@pytest.mark.usefixtures("key")
def test_upstream_with_key(upstream: str | None, url: str | None, name: str) -> None:
    """With a key the default upstream is TwelveLabs; a URL or the word `sandbox` overrides it."""
    settings = load(upstream=upstream)
    assert (settings.upstream.base_url, settings.upstream.name) == (url, name)


@pytest.mark.parametrize(
    "upstream",
    [
        "Sandbox",
        "example.com",
        "ftp://example.com",
        "https://",
        "https://user:word@example.com/",
        "https://user@example.com/",
        "https://example.com/?a=b",
        "https://example.com/#a",
    ],
)
def test_wrong_upstream(upstream: str) -> None:
    """An upstream is a plain base URL or the word `sandbox`."""
    assert list(faults(upstream=upstream)) == ["upstream"]


@pytest.mark.parametrize("listen", ["127.0.0.1:50051", "127.1.2.3:0", "[::1]:50051", "localhost:50051"], ids=str)
def test_sandbox_on_loopback(listen: str) -> None:
    """Without a key and an upstream the sandbox is the default, on loopback only."""
    assert load(listen=listen).upstream.name == "sandbox"


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:50051", "[::]:50051", "192.168.1.2:0", "example.com:1", "localhost.example:1"]
)
def test_no_sandbox_beyond_loopback(listen: str) -> None:
    """On a non-loopback address the sandbox is no default; the message names the settings to set."""
    (message,) = faults(listen=listen, insecure=True).values()
    assert "TWELVELABS_API_KEY" in message
    assert "--upstream" in message
    assert load(listen=listen, upstream="sandbox", insecure=True).upstream.name == "sandbox"
    assert load(listen=listen, upstream="http://u", insecure=True).upstream.name == "custom"


@pytest.mark.usefixtures("key")
def test_key_beyond_loopback() -> None:
    """With a key the upstream settings allow any listen address."""
    assert load(listen="0.0.0.0:1", insecure=True).upstream.name == "twelvelabs"


def test_twelvelabs_without_key() -> None:
    """The URL of TwelveLabs requires a key."""
    (message,) = faults(upstream=TWELVELABS_URL).values()
    assert "TWELVELABS_API_KEY" in message


@pytest.mark.parametrize("key", ["tlk_a b", "tlk_\u00e9", "tlk_\x07"], ids=["space", "not-ascii", "control"])
def test_key_that_is_no_header_value(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is not a valid header value is refused and not quoted."""
    monkeypatch.setenv("TWELVELABS_API_KEY", key)
    with pytest.raises(ValueError, match="visible ASCII") as caught:
        load()

    assert key not in str(caught.value)


def test_the_newline_at_the_end_of_a_key_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newline at the end of a key is removed, since secret files often end in one."""
    monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_a\n")
    found = load().upstream.api_key

    assert found is not None
    assert found.get_secret_value() == "tlk_a"
