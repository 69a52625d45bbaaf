"""What an operator can set, and what is said of a mistake."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from embedwire_server.config import sources
from embedwire_server.config.settings import Settings
from embedwire_server.config.sources import InvalidConfiguration
from embedwire_server.config.validation import TWELVELABS_URL
from embedwire_server.core.address import Address, parse_address
from embedwire_server.core.inputs import Limits
from embedwire_server.core.models import BUILT_IN, AudioRules, ImageRules, Model, TextRules, Truncate

SECRET = "tlk_0123456789abcdef"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"EMBEDWIRE_{name.upper()}", raising=False)
    monkeypatch.delenv("TWELVELABS_API_KEY", raising=False)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWELVELABS_API_KEY", SECRET)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "embedwire.toml"


def load(**flags: Any) -> Settings:
    return sources.load({name: str(value) for name, value in flags.items() if value is not None}).settings


def faults(**flags: Any) -> dict[str, str]:
    """What is wrong with these settings, by name."""
    with pytest.raises(InvalidConfiguration) as caught:
        load(**flags)
    return {_name(fault.place): fault.words for fault in caught.value.faults}


def _name(place: str) -> str:
    return re.sub(r"^(--|EMBEDWIRE_)", "", place.rpartition(": ")[2]).replace("-", "_").lower()


def test_defaults() -> None:
    """Without any setting the server is a sandbox on loopback, with the documented limits."""
    settings = load()
    assert (settings.listen, settings.metrics_listen) == ("127.0.0.1:50051", "127.0.0.1:9464")
    assert (settings.upstream_url, settings.upstream_name) == (None, "sandbox")
    assert settings.limits == Limits(256, 32 << 20, 256 << 20, 64 << 10, 8192)
    assert settings.max_message_bytes == 16 << 20
    assert list(settings.model_table) == list(BUILT_IN)


def test_precedence(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """A flag wins over the environment, which wins over the file, which wins over the default."""
    file.write_text("grace = 1\nmax_inputs = 1\ndrain_delay = 1\n")
    monkeypatch.setenv("EMBEDWIRE_GRACE", "2")
    monkeypatch.setenv("EMBEDWIRE_MAX_INPUTS", "2")
    settings = load(config=file, grace=3)
    assert (settings.grace, settings.max_inputs, settings.drain_delay, settings.inputs_at_once) == (3.0, 2, 1.0, 16)


def test_file_named_by_environment(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """The file may be named in the environment, and a flag names another."""
    file.write_text("grace = 1")
    other = file.with_name("other.toml")
    other.write_text("grace = 2")
    monkeypatch.setenv("EMBEDWIRE_CONFIG", str(file))
    assert load().grace == 1.0
    assert load(config=str(other)).grace == 2.0


def test_empty_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing is not set."""
    monkeypatch.setenv("EMBEDWIRE_GRACE", "")
    monkeypatch.setenv("TWELVELABS_API_KEY", "")
    settings = load()
    assert (settings.grace, settings.api_key, settings.upstream_name) == (30.0, None, "sandbox")


def test_all_faults_at_once(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Every fault of flags, environment and file is reported together."""
    file.write_text('max_inputs = 0\nnonsense = 1\nlog_level = "loud"\n')
    monkeypatch.setenv("EMBEDWIRE_GRACE", "-1")
    monkeypatch.setenv("EMBEDWIRE_MAX_TEXT_BYTES", "many")
    found = faults(config=file, listen="here", spool_dir="/does/not/exist", upstream="ftp://x")
    assert set(found) == {
        "max_inputs",
        "nonsense",
        "log_level",
        "grace",
        "max_text_bytes",
        "listen",
        "spool_dir",
        "upstream",
    }


@pytest.mark.parametrize("name", ["lissten", "api-key", "TWELVELABS_API_KEY"])
def test_unknown_names(file: Path, name: str) -> None:
    """A name that is no setting is refused, as a flag and in the file, so that no typing error is silent."""
    as_flag = name.lower().replace("-", "_")
    assert list(faults(**{name: "1"})) == [as_flag]
    file.write_text(f'{name} = "1"')
    assert list(faults(config=file)) == [as_flag]


@pytest.mark.parametrize("path", ["missing.toml", "."])
def test_missing_file(tmp_path: Path, path: str) -> None:
    """A file that is not there is a fault, not an empty file."""
    assert list(faults(config=tmp_path / path)) == ["config"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grace", "nan"),
        ("grace", "inf"),
        ("grace", "-0.1"),
        ("grace", "soon"),
        ("inputs_at_once", "0"),
        ("inputs_at_once", "1.5"),
        ("max_inputs", "-1"),
        ("log_level", "INFO"),
        ("log_format", "xml"),
        ("listen", "50051"),
        ("metrics_listen", "host:port"),
        ("spool_dir", "/dev/null"),
    ],
)
def test_wrong_values(name: str, value: str) -> None:
    """A value that makes no sense is refused under the name of its setting."""
    assert list(faults(**{name: value})) == [name]


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("show", [repr, str, lambda settings: f"{dict(settings)}"], ids=["repr", "str", "dict"])
def test_secret(show: Any) -> None:
    """The key is in no text that is made of the settings, and yet there."""
    settings = load()
    assert SECRET not in show(settings)
    assert "**********" in show(settings)
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == SECRET


def test_frozen() -> None:
    """Settings do not change while the server runs."""
    with pytest.raises(ValidationError, match="frozen"):
        load().grace = 1.0


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
    """With a key TwelveLabs is the default; a URL or the word sandbox decides otherwise."""
    settings = load(upstream=upstream)
    assert (settings.upstream_url, settings.upstream_name) == (url, name)


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
    """An upstream is a plain base URL, or the word sandbox."""
    assert list(faults(upstream=upstream)) == ["upstream"]


@pytest.mark.parametrize("listen", ["127.0.0.1:50051", "127.1.2.3:0", "[::1]:50051", "localhost:50051"], ids=str)
def test_sandbox_on_loopback(listen: str) -> None:
    """Without a key and an upstream the sandbox answers, as long as only this machine can ask it."""
    assert load(listen=listen).upstream_name == "sandbox"


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:50051", "[::]:50051", "192.168.1.2:0", "example.com:1", "localhost.example:1"]
)
def test_no_sandbox_beyond_loopback(listen: str) -> None:
    """Beyond loopback the sandbox must be asked for by name; the fault says what to set."""
    (message,) = faults(listen=listen, insecure=True).values()
    assert "TWELVELABS_API_KEY" in message
    assert "--upstream" in message
    assert load(listen=listen, upstream="sandbox", insecure=True).upstream_name == "sandbox"
    assert load(listen=listen, upstream="http://u", insecure=True).upstream_name == "custom"


@pytest.mark.usefixtures("key")
def test_key_beyond_loopback() -> None:
    """With a key the server may listen anywhere, as far as the upstream is concerned."""
    assert load(listen="0.0.0.0:1", insecure=True).upstream_name == "twelvelabs"


def test_twelvelabs_without_key() -> None:
    """TwelveLabs by URL needs a key as well."""
    (message,) = faults(upstream=TWELVELABS_URL).values()
    assert "TWELVELABS_API_KEY" in message


@pytest.mark.parametrize(
    ("text", "host", "port", "is_loopback"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051, True),
        ("127.255.0.1:1", "127.255.0.1", 1, True),
        ("[::1]:0", "::1", 0, True),
        ("localhost:65535", "localhost", 65535, True),
        ("0.0.0.0:1", "0.0.0.0", 1, False),
        ("[::]:1", "::", 1, False),
        ("10.0.0.1:1", "10.0.0.1", 1, False),
        ("example.com:1", "example.com", 1, False),
    ],
)
def test_addresses(text: str, host: str, port: int, *, is_loopback: bool) -> None:
    """An address is a host, in brackets if it is IPv6, and a port."""
    address = parse_address(text)
    assert (address, address.host, address.port, address.is_loopback) == (text, host, port, is_loopback)


@pytest.mark.parametrize(
    "text", ["", "localhost", ":50051", "localhost:", "localhost:65536", "localhost:-1", "h:٣", "h:x", "h: 1"]
)
def test_wrong_addresses(text: str) -> None:
    """What is no HOST:PORT is refused, and the message shows one."""
    with pytest.raises(ValueError, match=r"HOST:PORT, for instance 127\.0\.0\.1:50051"):
        parse_address(text)


def test_settings_have_addresses() -> None:
    """Both addresses can be asked for their parts."""
    settings = load(listen="[::1]:7", metrics_listen="localhost:8")
    assert (settings.listen_address.host, settings.listen_address.port) == ("::1", 7)
    assert isinstance(settings.metrics_address, Address)
    assert settings.metrics_address.port == 8


def test_limits() -> None:
    """Each limit is a setting of its own."""
    settings = load(max_inputs=1, max_image_bytes=2, max_upload_bytes=3, max_text_bytes=4, max_url_chars=5)
    assert settings.limits == Limits(1, 2, 3, 4, 5)


LIMITS = [name for name in Settings.model_fields if "_per_" in name or name in ("inputs_in_flight", "inputs_queued")]


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("name", [*LIMITS, "max_content_bytes"])
def test_shares_of_workers(name: str, workers: int) -> None:
    """What holds for all calls is divided: the shares add up to it, and differ by one at most."""
    settings = load(workers=workers, max_message_bytes=1, **{name: 64})
    shares = [getattr(settings.for_worker(index), name) for index in range(workers)]
    assert sum(shares) == 64
    assert max(shares) - min(shares) <= 1


@pytest.mark.usefixtures("key")
def test_what_workers_do_not_divide() -> None:
    """All else is the same for each of them, and what is unset stays unset; only metrics have ports of their own."""
    settings = load(workers=3, metrics_listen="[::1]:9464")
    found = [settings.for_worker(index) for index in range(3)]
    assert [one.metrics_listen for one in found] == ["[::1]:9464", "[::1]:9465", "[::1]:9466"]
    divided = {*LIMITS, "max_content_bytes", "metrics_listen"}
    for one in found:
        assert one.model_dump(exclude=divided) == settings.model_dump(exclude=divided)
        assert one.rate_limits == {}


def test_free_ports_for_the_metrics_of_workers() -> None:
    """Port 0 is 0 for each: they take free ones."""
    settings = load(workers=2, metrics_listen="127.0.0.1:0")
    assert [settings.for_worker(index).metrics_address.port for index in range(2)] == [0, 0]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param({"workers": 5, "audio_requests_per_day": 4}, "at most 4: audio-requests-per-day", id="rate limit"),
        pytest.param({"workers": 3, "inputs_in_flight": 2}, "at most 2: inputs-in-flight", id="in flight"),
        pytest.param({"workers": 17}, "must be at least max-message-bytes for each", id="content"),
        pytest.param({"workers": 3, "metrics_listen": "[::1]:65534"}, "beyond 65535", id="metrics ports"),
    ],
)
def test_too_many_workers(flags: dict[str, Any], said: str) -> None:
    """Each worker needs something of everything; what is short is named."""
    (message,) = faults(**flags).values()
    assert said in message


def test_as_many_workers_as_there_is_for() -> None:
    """One of each is enough, and no queue is a choice."""
    flags = {"inputs_in_flight": 2, "text_requests_per_minute": 2, "max_content_bytes": 32 << 20, "inputs_queued": 0}
    assert load(workers=2, metrics_listen="[::1]:65534", **flags).for_worker(1).metrics_address.port == 65535


MODEL = """
[[models]]
name = "mine"
aliases = ["my-model"]
dimensions = 64
endpoint = "/embed-mine"
text = {max_tokens = 10, truncates = ["none", "end"], sends_truncate = true}
image = {max_bytes = 1000, min_side_px = 8, media_types = ["image/webp"]}
audio = {}
"""


def test_models_of_the_file(file: Path) -> None:
    """A model of the file stands beside the built-in ones, with the defaults of what it leaves out."""
    file.write_text(MODEL)
    mine = Model(
        "mine",
        64,
        aliases=("my-model",),
        text=TextRules(10, (Truncate.NONE, Truncate.END), sends_truncate=True),
        image=ImageRules(1000, 8, ("image/webp",)),
        audio=AudioRules(),
        endpoint="/embed-mine",
    )
    table = load(config=file).model_table
    assert list(table) == [*BUILT_IN, mine]
    assert table.find("my-model") == mine


def test_replaced_model(file: Path) -> None:
    """A model of the file replaces the built-in one of its name."""
    file.write_text('[[models]]\nname = "marengo3.0"\ndimensions = 64\n')
    table = load(config=file).model_table
    assert [model.dimensions for model in table] == [64, 1024]


@pytest.mark.parametrize(
    ("models", "place"),
    [
        pytest.param('name = "x"', "models[0].dimensions", id="no dimensions"),
        pytest.param("dimensions = 4", "models[0].name", id="no name"),
        pytest.param('name = "x"\ndimensions = "many"', "models[0].dimensions", id="dimensions in words"),
        pytest.param('name = "x"\ndimensions = 4\ncolour = 1', "models[0].colour", id="unknown member"),
        pytest.param('name = "x"\ndimensions = 4\naudio = {a = 1}', "models[0].audio.a", id="unknown member of audio"),
        pytest.param(
            'name = "x"\ndimensions = 4\ntext = {max_tokens = 1, truncates = ["middle"]}',
            "models[0].text.truncates[0]",
            id="unknown truncate",
        ),
        pytest.param('name = "marengo2.7"\ndimensions = 4', "models", id="name that is another's alias"),
    ],
)
def test_wrong_models(file: Path, models: str, place: str) -> None:
    """A row of the table that makes no sense is refused, with its place in the file."""
    file.write_text(f"[[models]]\n{models}\n")
    assert list(faults(config=file)) == [place]


@pytest.mark.parametrize("text", ["[]:8", "a b:8", "http://x:8", "::1:8", "[::1:8", "user@h:1", "h:65536", "h:"])
def test_what_is_no_address(text: str) -> None:
    """Only HOST:PORT is an address, with IPv6 in brackets."""
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        parse_address(text)


def test_models_come_from_the_file_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable for them is refused, and its content is not quoted."""
    monkeypatch.setenv("EMBEDWIRE_MODELS", '[{"name": "CANARY", "dimensions": 4}]')
    with pytest.raises(ValueError, match="models") as caught:
        load()

    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("key", ["tlk_a b", "tlk_\u00e9", "tlk_\x07"], ids=["space", "not-ascii", "control"])
def test_a_key_that_no_header_can_hold(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at the start, and not quoted."""
    monkeypatch.setenv("TWELVELABS_API_KEY", key)
    with pytest.raises(ValueError, match="visible ASCII") as caught:
        load()

    assert key not in str(caught.value)


def test_the_newline_at_the_end_of_a_key_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of secrets tend to end in one."""
    monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_a\n")
    found = load().api_key

    assert found is not None
    assert found.get_secret_value() == "tlk_a"
