"""Help pages of the server's commands."""

import re
import subprocess
import sys

import pytest

from embedwire_server.config.setting_table import ALL, API_KEY, FILE_ONLY

FLAGS = {setting.flag: setting for name, setting in ALL.items() if name not in {API_KEY, *FILE_ONLY}}


def page(*words: str, columns: int = 80) -> str:
    command = [sys.executable, "-m", "embedwire_server", *words, "--help"]
    environment = {"COLUMNS": str(columns)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True).stdout


def flags(text: str) -> list[str]:
    """The flags that a help page lists, without those of argparse."""
    return re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_flags_of_serve(columns: int) -> None:
    """All flags are listed by table, with types, choices and defaults as they are written, in one usage line."""
    text = page("serve", columns=columns)
    joined = " ".join(text.split())

    assert text.startswith("usage: embedwire-server serve [OPTIONS]\n\n")
    assert flags(text) == list(FLAGS)
    assert max(map(len, text.splitlines())) <= columns
    assert re.findall(r"^(\[.*\]):$", text, re.MULTILINE)[:3] == ["[server]", "[tls]", "[auth]"]
    for shown in (
        "--config FILE TOML file",
        "--log-level debug|info|warning|error minimum log level (default: info)",
        "--log-format text|json log format (default: text)",
        "--listen HOST:PORT address of the gRPC server (default: 127.0.0.1:50051)",
        "--server-reflection [true|false] serve gRPC reflection",
        "(default: true)",
        "--server-write-stall-timeout DURATION",
        "(default: 1m)",
        "--workers-max-age DURATION",
        "--workers-max-memory MIB",
        "--workers N ",
        "--upstream URL|sandbox ",
        "--upstream-ca FILE ",
        "--uploads-spool-dir DIR ",
        "--retry-budget-ratio RATIO ",
        "--request-limits-text-bytes BYTES maximum size of one text in UTF-8 (default: 65536)",
    ):
        assert shown in joined
    assert "VALUE" not in text
    assert "True" not in text


def test_other_commands_show_their_own_flags() -> None:
    """`health` shows the flags that find the server, `config` its subcommands, and these one line for all settings."""
    shown = {words: page(*words.split()) for words in ("health", "config", "config check", "config reference", "token")}

    assert flags(shown["health"]) == ["--config", "--listen", "--health-listen", "--tls-certificate", "--tls-key"]
    assert all(flags(text) == [] for words, text in shown.items() if words != "health")
    assert all(f"\n    {name} " in shown["config"] for name in ("show", "check", "reference"))
    assert shown["config check"].startswith("usage: embedwire-server config check [SETTINGS]\n")
    assert "SETTINGS: any flag of serve." in shown["config check"]


def test_every_flag_has_a_placeholder() -> None:
    """The placeholder of each value is one of a few: types in capitals, or choices."""
    names = {setting.value_name for setting in FLAGS.values()}
    choices = {"true|false", "debug|info|warning|error", "text|json", "auto|v1|v2", "memory|URL"}
    types = {"FILE", "DIR", "HOST:PORT", "DURATION", "N", "NAME", "MIB", "BYTES", "RATIO"}
    urls = {"URL", "URL|sandbox", "URL|none"}
    assert names == choices | types | urls
