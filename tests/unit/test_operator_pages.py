"""The pages for operators name reasons, causes and settings that exist."""

import re
from pathlib import Path

import pytest

from embedwire_server.config import sandbox_flags
from embedwire_server.config.setting_table import ALL
from embedwire_server.core.failure_causes import Cause
from embedwire_server.rpc.status import CODES

ROOT = Path(__file__).parents[2]
TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text()
PAGES = ("alerts", "deployment", "metrics", "operations", "proxies", "reliability", "sandbox", "troubleshooting")
OF_OTHER_PROGRAMS = {"--format", "--memory", "--stop-timeout"}  # flags of docker and buildah
NO_SETTINGS = {"--upstream-api-key", "EMBEDWIRE_PORT", "EMBEDWIRE_TOKEN"}  # the pages explain what they are instead
GROUPS = {setting.key.partition(".")[0] for setting in ALL.values() if "." in setting.key}


def test_every_reason_has_its_code() -> None:
    """The tables of reasons list each reason of the contract once, with its gRPC code."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \|", TROUBLESHOOTING, re.MULTILINE)
    assert sorted(rows) == sorted((reason.value, code.name) for reason, code in CODES.items())


def test_every_cause_is_listed() -> None:
    """The table of causes lists each cause once."""
    table = TROUBLESHOOTING.partition("## The upstream cannot be reached")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[a-z_`, ]+) \|", table, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(Cause)


@pytest.mark.parametrize("page", PAGES)
def test_settings_of_a_page_exist(page: str) -> None:
    """Each setting in inline code, by its key, flag or variable, is a setting of the server."""
    code = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", (ROOT / f"docs/{page}.md").read_text(), flags=re.DOTALL))
    keys = {text for text in code if re.fullmatch(rf"({'|'.join(GROUPS)})(\.[a-z_]+)+", text)}
    flags = {flag for text in code for flag in re.findall(r"(?<!\S)--[a-z][a-z0-9-]+", text)}
    variables = {name for text in code for name in re.findall(r"\bEMBEDWIRE_[A-Z_]+", text)}

    assert keys <= {setting.key for setting in ALL.values()}
    assert flags - OF_OTHER_PROGRAMS - NO_SETTINGS - sandbox_flags.FLAGS <= {setting.flag for setting in ALL.values()}
    assert variables - NO_SETTINGS <= {setting.variable for setting in ALL.values()}
