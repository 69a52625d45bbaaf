"""Generated parts of the Helm chart: the schema of `config`, the list of reloaded settings, the table of values."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docs.reference.pages import cell
from embedwire_server.config.setting_table import ALL, RELOADABLE, Setting
from embedwire_server.config.settings import Settings

CHART = Path(__file__).parents[2] / "deploy/helm/embedwire"
SCHEMA = CHART / "values.schema.json"
RELOADED = CHART / "files/reloaded-settings.txt"
# Settings that the chart sets by environment variables, and those of several processes in a pod.
OF_CHART = frozenset(
    {
        "config",
        "server.listen",
        "server.allow_insecure",
        "metrics.listen",
        "health.listen",
        "tls.certificate",
        "tls.key",
        "tls.client_ca",
        "upstream.api_key",
        "uploads.spool_dir",
        "shutdown.delay",
        "shutdown.grace_period",
        "quota.replicas",
    }
    | {setting.key for setting in ALL.values() if setting.path[0] == "workers"}
)
DURATION: Mapping[str, Any] = {
    "type": ["string", "number", "null"],
    "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$|^[0-9]+(\.[0-9]+)?$",
    "minimum": 0,
}
_PARTS = ("ApiVersion", "AudioRules", "ImageRules", "Modality", "Model", "TextRules", "Token", "Truncate")
_OMITTED = {"title", "default", "format", "writeOnly"}
_VALUE = re.compile(r"(?P<indent> *)(?P<key>\w+):(?: (?P<default>.*))?")


def schema() -> str:
    """Return the schema of the values: `config` and its parts are those of the settings, the rest stays."""
    rendered = Settings.model_json_schema()
    found = json.loads(SCHEMA.read_text())
    found["$defs"] = {name: _brief(rendered["$defs"][name]) for name in _PARTS}
    found["$defs"]["Token"]["properties"]["sha256"] = _hashes()
    found["properties"]["config"] = _config(rendered)
    return json.dumps(found, indent=2) + "\n"


def reloaded_settings() -> str:
    """Return the keys of the settings that a reload applies, one a line."""
    return "".join(f"{setting.key}\n" for setting in RELOADABLE if len(setting.path) > 1)


def values() -> Iterator[str]:
    """Yield the rows of the table of values, from the comments of values.yaml that begin with `# --`."""
    yield "| value | default | description |"
    yield "|---|---|---|"
    path: list[str] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if line.startswith("#") or line.lstrip().startswith("#"):
            text = line.lstrip().removeprefix("# ")
            comment = [text.removeprefix("-- ")] if text.startswith("-- ") else [*comment, text] if comment else []
        elif match := _VALUE.fullmatch(line):
            path = [*path[: len(match["indent"]) // 2], match["key"]]
            if comment:
                default = f"`{match['default']}`".replace("|", r"\|")
                yield f"| `{'.'.join(path)}` | {default} | {cell(' '.join(comment))} |"
            comment = []


def _config(rendered: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of the value `config`: all settings that the chart does not set."""
    root = _table("configuration file: the groups and keys of docs/configuration.md")
    for setting in ALL.values():
        if setting.key in OF_CHART:
            continue
        table = root
        for group in setting.path[:-1]:
            table = table["properties"].setdefault(group, _table(None))
        table["properties"][setting.path[-1]] = _setting(setting, rendered)
    return root


def _setting(setting: Setting, rendered: Mapping[str, Any]) -> dict[str, Any]:
    part = rendered
    for name in setting.path:
        part = part["properties"][name]
        part = rendered["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    if setting.is_duration:
        return {**DURATION, "description": setting.field.description}
    found: dict[str, Any] = _brief(part)
    if setting.key == "upstream.proxy":  # the file may be in a ConfigMap
        found["pattern"] = "^[^@]*$"
    return found


def _table(description: str | None) -> dict[str, Any]:
    described = {"description": description} if description else {}
    return {**described, "type": ["object", "null"], "additionalProperties": False, "properties": {}}


def _brief(part: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a schema without titles and defaults, with one line of each description, and `null` as a type."""
    if isinstance(part, list):
        return [_brief(item) for item in part]
    if not isinstance(part, dict):
        return part
    left = {
        name: _brief(item) for name, item in part.items() if name not in {"title", "default", "format", "writeOnly"}
    }
    if isinstance(description := left.get("description"), str):
        left["description"] = description.partition("\n")[0]
    if tuple_items := left.pop("prefixItems", None):  # of a later draft than Helm's
        left["items"] = tuple_items
    alternatives = left.pop("anyOf", None)
    if alternatives is None:
        return left
    kept = [item for item in alternatives if item != {"type": "null"}]
    if len(kept) == 1 and "type" in kept[0]:
        return {**kept[0], "type": [kept[0]["type"], "null"], **left}
    return {"anyOf": alternatives, **left}


def _hashes() -> dict[str, Any]:
    one = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
