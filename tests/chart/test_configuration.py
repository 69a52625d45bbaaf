"""The server accepts the configuration of each set of values; new pods start only for changes that need them."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from docs.reference import chart
from embedwire_server.config.setting_table import ALL, BY_KEY, RELOADABLE, Setting
from tests.chart.mounting import Mounts
from tests.chart.rendering import CASES, SECRET, configuration, objects, one

OWN = [name for name, values in CASES.items() if "existingConfig" not in values]
OPEN = SECRET | {"allowInsecure": True}


@pytest.mark.parametrize("name", OWN)
async def test_the_server_accepts_it(name: str, tmp_path: Path) -> None:
    """`config check`, with the rendered file and the rendered variables, finds no error and no unexpected warning."""
    code, output, errors = await Mounts(tmp_path, objects(CASES[name])).config_check()

    assert (code, output) == (0, "OK\n"), errors
    assert [line for line in errors.splitlines() if "sandbox" not in line] == []


@pytest.mark.parametrize("name", OWN)
def test_the_file_has_the_values(name: str) -> None:
    """The file has the values with their types: whole numbers stay whole numbers."""
    values = CASES[name].get("config", {})
    written = tomllib.loads(configuration(objects(CASES[name])))
    expected = values if values is None else {"log": {"format": "json"}} | values

    assert json.dumps(written, sort_keys=True) == json.dumps(expected or {}, sort_keys=True)


def test_unset_values() -> None:
    """`null`, which removes a default in values of helm, is not written."""
    config = {"log": {"format": None, "level": "debug"}, "server": None}

    assert tomllib.loads(configuration(objects(OPEN | {"config": config}))) == {"log": {"level": "debug"}}


def checksum(config: dict[str, Any]) -> str:
    """Return the annotation whose change starts new pods."""
    found = one(objects(OPEN | {"config": config}), "Deployment")["spec"]["template"]["metadata"]["annotations"]
    return str(found["checksum/restart"])


OTHER: dict[str, Any] = {  # values that are not the default, of settings with a format
    "retry.max_attempts": 2,
    "retry.budget_ratio": 1,
    "upstream.api_version": "v2",
    "upstream.url": "https://upstream.example/v1",
    "upstream.proxy": "http://proxy.example:443",
    "upstream.ca": "/etc/ca.crt",
    "log.level": "debug",
    "log.format": "text",
    "assets.deployment": "other",
    "quota.store": "redis://redis.example:6379/0",
    "cache.store": "memory",
}


def _other(setting: Setting) -> Any:
    """Return a value that is not the default."""
    if isinstance(setting.field.default, bool):
        return not setting.field.default
    return "5h" if setting.is_duration else 1234


@pytest.mark.parametrize("key", sorted(BY_KEY.keys() - chart.OF_CHART - {"models", "tokens"}))
def test_new_pods_start_for_settings_that_are_not_reloaded(key: str) -> None:
    """A changed setting changes the pods exactly if a reload does not apply it."""
    nested: Any = OTHER.get(key, _other(BY_KEY[key]))
    for name in reversed(key.split(".")):
        nested = {name: nested}

    assert (checksum(nested) == checksum({})) is (BY_KEY[key] in RELOADABLE)


def test_new_pods_start_for_the_first_token() -> None:
    """Tokens are reloaded, but not the removal of all of them, and the kind of the mounted object changes."""
    first = {"name": "search", "sha256": "ab" * 32}
    one_token = checksum({"tokens": [first]})
    assert one_token == checksum({"tokens": [first, first | {"name": "other"}]})
    assert one_token != checksum({})


def test_a_changed_key_starts_new_pods() -> None:
    """The API key is not reloaded: a new value changes the pods."""
    assert ALL["api_key"] not in RELOADABLE
    pods = [one(objects(OPEN | {"apiKey": {"value": key}}), "Deployment")["spec"]["template"] for key in ("a", "b")]
    assert pods[0] != pods[1]
