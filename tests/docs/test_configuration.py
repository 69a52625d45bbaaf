"""Configuration files of the pages are accepted by the server."""

import asyncio
import sys
from pathlib import Path

import pytest
import trustme

from tests.docs.blocks import Block, blocks
from tests.docs.owners import CONFIGURATION, owned

# Where the files that the pages name are, in production.
FOLDER = "/etc/embedwire"
FILES = ("tls/tls.crt", "tls/tls.key", "tls.crt", "tls.key", "clients.crt")


@pytest.mark.parametrize("block", owned(blocks(), CONFIGURATION), ids=lambda block: block.place)
async def test_a_configuration_file_is_valid(block: Block, tmp_path: Path) -> None:
    """`config check` accepts the file, with the certificates that it names."""
    certificate = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem
    (tmp_path / "tls").mkdir()
    for name in FILES:
        certificate.write_to_path(tmp_path / name)
    file = tmp_path / "embedwire.toml"
    file.write_text(block.text.replace(FOLDER, str(tmp_path)))

    process = await asyncio.create_subprocess_exec(
        *("env", "TWELVELABS_API_KEY=tlk_test", sys.executable, "-m", "embedwire_server"),
        *("config", "check", "--config", file),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
