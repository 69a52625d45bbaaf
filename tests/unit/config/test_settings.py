"""Sources of settings, their precedence, and the report of faults."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from embedwire_server.config import render, sources
from embedwire_server.config.errors import InvalidConfiguration
from embedwire_server.config.renamed_settings import RENAMED
from embedwire_server.config.setting_table import ALL
from embedwire_server.core.inputs import Limits
from embedwire_server.core.models import BUILT_IN
from tests.unit.config.support import faults, load


def test_defaults() -> None:
    """Without settings the server uses the sandbox on loopback, with the documented limits."""
    settings = load()
    assert (settings.server.listen, settings.metrics.listen) == ("127.0.0.1:50051", "127.0.0.1:9464")
    assert (settings.upstream.base_url, settings.upstream.name) == (None, "sandbox")
    assert settings.limits == Limits(256, 32 << 20, 256 << 20, 64 << 10, 8192)
    assert settings.request_limits.message_bytes == 16 << 20
    assert list(settings.model_table) == list(BUILT_IN)


def test_precedence(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """A flag overrides the environment, which overrides the file, which overrides the default."""
    file.write_text("[shutdown]\ngrace_period = 1\ndelay = '1s'\n[request_limits]\ninputs = 1\n")
    monkeypatch.setenv("EMBEDWIRE_SHUTDOWN_GRACE_PERIOD", "2")
    monkeypatch.setenv("EMBEDWIRE_REQUEST_LIMITS_INPUTS", "2")
    settings = load(config=file, shutdown_grace_period=3)
    assert (
        settings.shutdown.grace_period,
        settings.request_limits.inputs,
        settings.shutdown.delay,
        settings.concurrency.inputs_per_call,
    ) == (3.0, 2, 1.0, 16)


def test_file_named_by_environment(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """An environment variable sets the configuration file, and a flag overrides it."""
    file.write_text("shutdown.grace_period = 1")
    other = file.with_name("other.toml")
    other.write_text("shutdown.grace_period = 2")
    monkeypatch.setenv("EMBEDWIRE_CONFIG", str(file))
    assert load().shutdown.grace_period == 1.0
    assert load(config=str(other)).shutdown.grace_period == 2.0


def test_empty_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as not set."""
    monkeypatch.setenv("EMBEDWIRE_SHUTDOWN_GRACE_PERIOD", "")
    monkeypatch.setenv("TWELVELABS_API_KEY", "")
    settings = load()
    assert (settings.shutdown.grace_period, settings.upstream.api_key, settings.upstream.name) == (
        30.0,
        None,
        "sandbox",
    )


def test_all_faults_at_once(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """All faults of flags, environment and file are reported together."""
    file.write_text('nonsense = 1\n[request_limits]\ninputs = 0\n[log]\nlevel = "loud"\n')
    monkeypatch.setenv("EMBEDWIRE_SHUTDOWN_GRACE_PERIOD", "-1")
    monkeypatch.setenv("EMBEDWIRE_REQUEST_LIMITS_TEXT_BYTES", "many")
    found = faults(config=file, listen="here", uploads_spool_dir="/does/not/exist", upstream="ftp://x")
    assert set(found) == {
        "request_limits_inputs",
        "nonsense",
        "log_level",
        "shutdown_grace_period",
        "request_limits_text_bytes",
        "listen",
        "uploads_spool_dir",
        "upstream",
    }


@pytest.mark.parametrize("name", ["lissten", "api-key", "TWELVELABS_API_KEY"])
def test_unknown_names(file: Path, name: str) -> None:
    """An unknown name is refused, as a flag and in the file."""
    as_flag = name.lower().replace("-", "_")
    assert list(faults(**{name: "1"})) == [as_flag]
    file.write_text(f'{name} = "1"')
    assert list(faults(config=file)) == [as_flag]


@pytest.mark.parametrize("path", ["missing.toml", "."])
def test_missing_file(tmp_path: Path, path: str) -> None:
    """A missing file is a fault, not an empty configuration."""
    assert list(faults(config=tmp_path / path)) == ["config"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shutdown_grace_period", "nan"),
        ("shutdown_grace_period", "inf"),
        ("shutdown_grace_period", "-0.1"),
        ("shutdown_grace_period", "soon"),
        ("concurrency_inputs_per_call", "0"),
        ("concurrency_inputs_per_call", "1.5"),
        ("request_limits_inputs", "-1"),
        ("log_level", "INFO"),
        ("log_format", "xml"),
        ("listen", "50051"),
        ("metrics_listen", "host:port"),
        ("uploads_spool_dir", "/dev/null"),
    ],
)
def test_wrong_values(name: str, value: str) -> None:
    """An invalid value is refused under the name of its setting."""
    assert list(faults(**{name: value})) == [name]


def test_frozen() -> None:
    """Settings are immutable."""
    with pytest.raises(ValidationError, match="frozen"):
        load().shutdown.grace_period = 1.0


def test_limits() -> None:
    """Each limit has a setting of its own."""
    settings = load(
        request_limits_inputs=1,
        request_limits_image_bytes=2,
        request_limits_upload_bytes=3,
        request_limits_text_bytes=4,
        request_limits_url_chars=5,
    )
    assert settings.limits == Limits(1, 2, 3, 4, 5)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_names(old: str, new: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old name is rejected with a message that has the new one, as a flag, variable and in the file."""
    with pytest.raises(InvalidConfiguration, match=re.escape(f"is {ALL[new].flag} now")):
        sources.load({}, [f"--{old.replace('_', '-')}"])
    file.write_text(f"{old} = 1")
    *groups, key = ALL[new].path
    with pytest.raises(InvalidConfiguration, match=re.escape(f"is {key} in the table [{'.'.join(groups)}] now")):
        load(config=file)
    monkeypatch.setenv(f"EMBEDWIRE_{old.upper()}", "1")
    with pytest.raises(InvalidConfiguration, match=re.escape(f"is {ALL[new].variable} now")):
        load()


@pytest.mark.usefixtures("key")
def test_shown_configuration_can_be_loaded(file: Path) -> None:
    """The output of `config show` is a valid configuration file, except for secrets and the path of the file."""
    lines = [line for line in render.shown(sources.load({})) if not line.startswith(("config", "api_key"))]
    file.write_text("\n".join(lines))
    assert load(config=file).model_copy(update={"config": None}) == load()
