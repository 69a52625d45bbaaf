"""Commands of a container engine on the pages agree with the settings and the image; no test runs them."""

import re
from pathlib import Path

import pytest
import trustme

from embedwire_server.config.setting_table import ALL
from embedwire_server.config.sources import load
from tests.docs.blocks import ROOT, Block, blocks

IMAGE_PORTS = {int(port) for port in re.findall(r"(?m)^EXPOSE (.*)$", (ROOT / "Dockerfile").read_text())[0].split()}
VARIABLES = {setting.variable for setting in ALL.values()}
MOUNTED = "/etc/embedwire"
_FILE = re.compile(r"\.toml <<(\w+)\n(.*?)^\1$", re.DOTALL | re.MULTILINE)
COMMANDS = [block for block in blocks() if block.language == "console" and "docker run" in block.text]
FILES = [(block, file) for block in COMMANDS for _, file in _FILE.findall(block.text)]


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.place)
def test_variables_and_ports(block: Block) -> None:
    """Each variable that a command sets is a setting, and each port that it publishes is one of the image."""
    assert set(re.findall(r"--env (\w+)", block.text)) <= VARIABLES
    assert {int(port) for port in re.findall(r"--publish \S*:(\d+)\b", block.text)} <= IMAGE_PORTS


@pytest.mark.parametrize(("block", "file"), FILES, ids=lambda value: getattr(value, "place", "file"))
def test_a_written_file(block: Block, file: str, tmp_path: Path) -> None:
    """A configuration file that a command writes has no error and no warning, with the certificates that it names."""
    certificate = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem
    for name in re.findall(rf'"{MOUNTED}/([\w.]+)"', file):
        certificate.write_to_path(tmp_path / name)
        (tmp_path / name).chmod(0o600)
    path = tmp_path / "embedwire.toml"
    path.write_text(file.replace(MOUNTED, str(tmp_path)))

    assert load({"config": str(path)}).warnings == (), block.place


def test_a_file_is_found() -> None:
    """The page on deployment writes a configuration file."""
    assert [block.page for block, _ in FILES] == ["docs/deployment.md"]
