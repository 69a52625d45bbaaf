"""Fixtures: an environment without settings, an API key, and a configuration file."""

from pathlib import Path

import pytest

from embedwire_server.config.settings import Settings
from tests.unit.config.support import SECRET


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
