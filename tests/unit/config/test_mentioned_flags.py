"""Flags that occur in help texts, messages and log lines."""

import re
from pathlib import Path

import embedwire_server
from embedwire_server.config.setting_table import ALL

SOURCES = sorted(Path(embedwire_server.__file__).parent.rglob("*.py"))
OF_THE_COMMAND = {"--version"}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")


def test_every_mentioned_flag_exists() -> None:
    """Every flag that occurs in the server's sources is a flag of a setting."""
    mentioned = {flag for path in SOURCES for flag in FLAG.findall(path.read_text("utf-8"))}
    assert len(mentioned) > 10
    assert mentioned <= {setting.flag for setting in ALL.values()} | OF_THE_COMMAND
