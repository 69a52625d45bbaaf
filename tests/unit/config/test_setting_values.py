"""Validation of setting values: white space, invisible characters, numbers, URLs, paths and file permissions."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from embedwire_server.config import sources
from embedwire_server.config.errors import InvalidConfiguration
from embedwire_server.config.setting_table import ALL, FILE_ONLY
from embedwire_server.config.settings import Settings
from embedwire_server.core.address import parse_address, parse_base_url
from tests.support.serving import settings_of

NAMES = [name for name in ALL if name not in FILE_ONLY]
AROUND = ["{}\n", "{}\r\n", "{} ", " {}", "\t{}\n\n", "{}\u00a0", "\n{}", "{}\v\f"]
WITHIN = ["{}\0", "{}\n{}", "\ufeff{}", "{}\u200b", "{}\x7f", "{}\x1b[0m", "\r{}\r{}"]
NUMBERS = [name for name in NAMES if ALL[name].field.annotation in (int, float, int | None, float | None)]

Chosen = Callable[[str], str]


def made(**given: Any) -> Settings:
    return settings_of(**given)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in ALL.values():
        monkeypatch.delenv(setting.variable, raising=False)


@pytest.fixture
def chosen(tmp_path: Path) -> Chosen:
    """A valid value of any setting."""
    certificate = trustme.CA().issue_cert("localhost")
    for file, blob in (("c.pem", certificate.cert_chain_pems[0]), ("k.pem", certificate.private_key_pem)):
        blob.write_to_path(str(tmp_path / file))
    (tmp_path / "e.toml").write_text("[shutdown]\ngrace_period = 7\n")
    values = {
        "listen": "127.0.0.1:5",
        "metrics_listen": "[::1]:6",
        "health_listen": "localhost:7",
        "upstream": "http://u.example/v1.3",
        "api_key": "tlk_1",
        "log_level": "debug",
        "upstream_api_version": "v2",
        "log_format": "json",
        "config": str(tmp_path / "e.toml"),
        "uploads_spool_dir": str(tmp_path),
        "tls_certificate": str(tmp_path / "c.pem"),
        "tls_key": str(tmp_path / "k.pem"),
        "tls_client_ca": str(tmp_path / "c.pem"),
        "request_limits_message_bytes": "1000",
        "concurrency_max_buffered_bytes": "20000000",
        "insecure": "true",
        "server_reflection": "false",
        "auth_allow_caller_api_keys": "yes",
        "upstream_proxy": "http://user:secret@p.example:3128",
        "upstream_ca": str(tmp_path / "c.pem"),
        "workers_max_memory": "128",
        "quota_store": "redis://:secret@h.example:6379/0",
        "cache_store": "memory",
    }
    return lambda name: values.get(name, "1")


def flags(name: str, value: str, chosen: Chosen) -> dict[str, str]:
    """Return flags for the setting and those that it requires."""
    together = (("tls_certificate", "tls_key"), ("quota_store", "quota_replicas"))
    beside = next((names for names in together if name.partition("_")[0] == names[0].partition("_")[0]), ())
    return {each: chosen(each) for each in beside} | {name: value}


def load(given: dict[str, str], monkeypatch: pytest.MonkeyPatch, source: str, path: Path) -> dict[str, Any]:
    if source == "environment" or "api_key" in given:
        for name, value in given.items():
            monkeypatch.setenv(ALL[name].variable, value)
        given = {}
    elif source == "file" and "config" not in given:
        lines = [f"{ALL[name].key} = {json.dumps(value)}" for name, value in given.items()]
        path.write_text("\n".join(lines), "utf-8")
        given = {"config": str(path)}
    loaded = sources.load(given).settings
    settings = {name: ALL[name].of(loaded) for name in NAMES}
    return settings | {"config": None if source == "file" else settings["config"]}


@pytest.mark.parametrize("source", ["flag", "environment", "file"])
@pytest.mark.parametrize("name", NAMES)
def test_surrounding_white_space(
    name: str, source: str, chosen: Chosen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """White space around a value is stripped, in any source."""
    file = tmp_path / "t.toml"
    plain = load(flags(name, chosen(name), chosen), monkeypatch, source, file)
    assert name == "config" or plain[name] is not None
    for form in AROUND:
        assert load(flags(name, form.format(chosen(name)), chosen), monkeypatch, source, file) == plain


@pytest.mark.parametrize("name", NAMES)
def test_invisible_characters(name: str, chosen: Chosen) -> None:
    """A value with a control character, a line break or an invisible character is refused under its name."""
    for form in WITHIN:
        value = form.replace("{}", chosen(name))
        with pytest.raises(ValueError, match=re.escape(ALL[name].key)):
            made(**flags(name, value, chosen))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["", " ", "\n", "\r\n"])
def test_empty_values(name: str, value: str, chosen: Chosen) -> None:
    """An empty value is refused, so that it cannot become an empty key or path."""
    with pytest.raises(ValueError, match=re.escape(ALL[name].key)):
        made(**flags(name, value, chosen))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", ["\uff11", "\u0663", "0x10", "1e400", "inf", "-inf", "nan", "NaN", "-1", "1,000", "1 000", "1" * 400, True]
)
def test_invalid_numbers(name: str, value: Any) -> None:
    """A number has ASCII digits, is finite and within the range of its setting."""
    with pytest.raises(ValueError, match=re.escape(ALL[name].key)):
        made(**{name: value})


@pytest.mark.parametrize("name", ["shutdown_grace_period", "shutdown_delay", "retry_budget_ratio"])
@pytest.mark.parametrize("value", ["-0", "-0.0", -0.0])
def test_negative_zero(name: str, value: Any) -> None:
    """Negative zero is normalized to zero."""
    assert str(ALL[name].of(made(**{name: value}))) == "0.0"


@pytest.mark.parametrize("value", ["2", "maybe", "truee", "0x1", 2, 1.5])
def test_invalid_booleans(value: Any) -> None:
    """A word that is not a boolean is refused."""
    with pytest.raises(ValueError, match="insecure"):
        made(insecure=value)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://h", "http://h"),
        ("HTTPS://API.TwelveLabs.io:443/v1.3/", "https://api.twelvelabs.io/v1.3"),
        ("http://h:80/", "http://h"),
        ("http://h:443", "http://h:443"),
        ("http://h:00081", "http://h:81"),
        ("http://[::1]:8400/v1.3", "http://[::1]:8400/v1.3"),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]"),
        ("http://127.0.0.1:1/a//b", "http://127.0.0.1:1/a//b"),
        ("http://my_host.svc.cluster.local./v1.3", "http://my_host.svc.cluster.local./v1.3"),
        ("http://xn--bcher-kva.example", "http://xn--bcher-kva.example"),
    ],
)
def test_base_urls(given: str, used: str) -> None:
    """A base URL is normalized to one form."""
    assert parse_base_url(given) == used


@pytest.mark.parametrize(
    "text",
    [
        "http:h", "http:/h", "http:\\\\h", "http:///h", "//h", "h", "h:80", "http://", "http://:80", "http://:80/v1.3",
        "http://h:0", "http://h:65536", "http://h:-1", "http://h:", "http://h:8o", "http://h:\u0661",
        "http://::1", "http://[::1", "http://[::1%25lo]", "http://[::1%lo]", "http://[127.0.0.1]", "http://[]",
        "http://1.2.3", "http://256.1.1.1", "http://0x7f.1", "http://2130706433", "http://h.1", "http://127.0.0.01",
        "http://-", "http://a..b", "http://.a", "http://a-.b", "http://" + "a" * 64, "http://" + "a." * 127 + "a",
        "http://b\u00fccher.example", "http://\uff48", "http://h\u3002example", "http://h%2e",
        "http://u:p@h", "http://u@h", "http://@h", "http://h?a", "http://h?", "http://h#", "http://h/#a", "http://h/?",
        "http://h/a b", "http://h/%20", "http://h/\u00e9", "http://h/..", "http://h/./a", "http://h/a/../b", "http://h/a\\b",
        "http://h/a|b", 'http://h/"', "http://h/<a>", "http://h/{a}", "http://h/[a]", "http://h/^", "http://h/`",
        "http://h http://i", "http://h,http://i", "ws://h", "unix:///a", "file:///a", "javascript:a", "sandbox/",
        "SANDBOX",
    ],
)  # fmt: skip
def test_invalid_base_urls(text: str) -> None:
    """A URL that libraries parse differently or rewrite is refused with a message that shows an example."""
    with pytest.raises(ValueError, match=r"https://host\.example/v1\.3"):
        made(upstream=text)


@pytest.mark.parametrize(
    "text",
    [
        "[::::]:1", "[1.2.3.4]:1", "[::1%lo]:1", "::1:1", "[::1]", "[::1]:", "999.1.1.1:1", "127.1:1", "0x7f.0.0.1:1",
        "1.2.3:1", "127.0.0.01:1", "-:1", "a..b:1", "a-.b:1", ".:1", "b\u00fccher:1", "h:1:2", "h:1/", "http://h:1",
        "h :1", "*:1", "h:+1", "h:1_0", "h:1.0", "h:100000",
    ],
)  # fmt: skip
def test_invalid_addresses(text: str) -> None:
    """An invalid host or port is refused by validation, before the server listens."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)


def test_one_address_twice() -> None:
    """Two listeners cannot have the same address, except with port 0."""
    with pytest.raises(ValueError, match=r"metrics\.listen: --listen and --metrics-listen must be different"):
        made(listen="127.0.0.1:5", metrics_listen="127.0.0.1:5")
    assert made(listen="127.0.0.1:0", metrics_listen="127.0.0.1:0")


def test_unwritable_spool_dir() -> None:
    """A spool directory in which no file can be created is refused."""
    with pytest.raises(ValueError, match="spool_dir: files cannot be written there"):
        made(uploads_spool_dir="/proc")


@pytest.mark.parametrize(
    "endpoint", ["/embed\n", "/embed?a", "/embed#a", "/a b", "/%20", "/../x", "/\u00e9", "embed", ""]
)
def test_endpoints(endpoint: str) -> None:
    """The endpoint of a model is a path that no library rewrites."""
    with pytest.raises(ValueError, match="endpoint"):
        made(models=({"name": "m", "dimensions": 4, "endpoint": endpoint},))


@pytest.mark.parametrize("name", ["m\n", " m", "m\0", "\ufeffm"])
def test_names_of_models(name: str) -> None:
    """Names and aliases of models have no invisible characters."""
    with pytest.raises(ValueError, match="printable"):
        made(models=({"name": name, "dimensions": 4},))
    with pytest.raises(ValueError, match="printable"):
        made(models=({"name": "m", "aliases": [name], "dimensions": 4},))


def test_key_that_is_too_long() -> None:
    """A key that is too long for a header is refused."""
    with pytest.raises(ValueError, match="at most 4096"):
        made(api_key="x" * 4097)


def test_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    """A file with a byte order mark, as editors on Windows write it, is accepted."""
    file = tmp_path / "e.toml"
    file.write_bytes(b"\xef\xbb\xbf[shutdown]\r\ngrace_period = 3\r\n")
    assert sources.load({"config": str(file)}).settings.shutdown.grace_period == 3


def test_config_setting_within_a_file(tmp_path: Path) -> None:
    """The setting `config` within a file is refused, since it would be ignored."""
    file = tmp_path / "e.toml"
    file.write_text(f'config = "{file}"')
    with pytest.raises(InvalidConfiguration, match="config: not allowed in the file"):
        sources.load({"config": str(file)})


def warned(given: dict[str, str]) -> list[str]:
    return [str(warning) for warning in sources.load(given).warnings]


@pytest.mark.parametrize(("mode", "is_warned"), [(0o644, True), (0o604, True), (0o640, False), (0o600, False)])
def test_world_readable_file_with_a_key(mode: int, *, is_warned: bool, chosen: Chosen, tmp_path: Path) -> None:
    """A world-readable file with a key causes a warning with its name and a remedy, without the key."""
    file = tmp_path / "with-key.toml"
    file.write_text('[upstream]\napi_key = "tlk_secret"\n')
    file.chmod(mode)
    Path(chosen("tls_key")).chmod(mode)
    for given, named in (
        ({"config": str(file)}, str(file)),
        (flags("tls_key", chosen("tls_key"), chosen), chosen("tls_key")),
    ):
        found = warned(given)
        assert len(found) == is_warned
        assert all(named in words and "chmod o-r" in words and "tlk_secret" not in words for words in found)


def test_world_readable_files_without_a_key(chosen: Chosen, tmp_path: Path) -> None:
    """World-readable files without a key cause no warning: settings, hashes of tokens, certificates."""
    file = tmp_path / "e.toml"
    file.write_text(f'[[tokens]]\nname = "a"\nsha256 = "{"0" * 64}"\n')
    file.chmod(0o644)
    Path(chosen("tls_certificate")).chmod(0o644)
    Path(chosen("tls_key")).chmod(0o600)
    assert warned({"config": str(file)} | flags("tls_key", chosen("tls_key"), chosen)) == []


@pytest.mark.parametrize(
    ("given", "is_warned"),
    [
        ({"listen": "0.0.0.0:1", "upstream": "sandbox", "insecure": "true"}, True),
        ({"listen": "[::]:1", "upstream": "sandbox", "insecure": "true"}, True),
        ({"listen": "0.0.0.0:1", "upstream": "http://h", "insecure": "true"}, False),
        ({"listen": "127.0.0.1:1", "upstream": "sandbox"}, False),
        ({}, False),
    ],
)
def test_sandbox_beyond_loopback(given: dict[str, str], *, is_warned: bool) -> None:
    """A sandbox on a non-loopback address causes a warning."""
    assert [("sandbox" in words and "loopback" in words) for words in warned(given)] == [True] * is_warned


def test_largest_upload_limit() -> None:
    """The limit of uploads is 256 MiB by default, and can be set up to 4 GiB."""
    most = 4 << 30
    assert made().limits.upload_bytes == 256 << 20
    assert made(request_limits_upload_bytes=most).limits.upload_bytes == most
    with pytest.raises(ValueError, match=str(most)):
        made(request_limits_upload_bytes=most + 1)
