"""The page of grpcurl recipes: each of its commands runs unchanged, and prints the output shown below it.

Not among the tests of `make test`, since it needs grpcurl, which `make test-clients` installs.
"""

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncGenerator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme

from embedwire_server.auth.tokens import new_token
from tests.support.process import ServerProcess

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/grpcurl.md"
RECIPES = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
# Where the page's servers listen, and what differs from run to run.
PLAIN, SECURE, MEDIA = "127.0.0.1:50051", "localhost:50443", "127.0.0.1:8099"
_VARYING = re.compile(r'"[0-9.]+s"|\b[0-9a-f]{16}\b')


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.split("\n")[0][:60] for recipe in RECIPES])
async def test_recipe(recipe: str, tmp_path: Path) -> None:
    """The command gives the output that the page shows, except for times and ids."""
    async with servers(tmp_path) as addresses:
        for command, shown in _commands(recipe):
            ended = await asyncio.to_thread(_run, command, addresses, tmp_path)
            assert _steady(ended) == _steady(shown), command


def test_each_recipe_is_found() -> None:
    """Each section of the page has a command, and all commands are grpcurl's."""
    commands = [command for recipe in RECIPES for command, _ in _commands(recipe)]

    assert len(commands) >= PAGE.read_text().count("\n## ")
    assert all("grpcurl" in command for command in commands)


@contextlib.asynccontextmanager
async def servers(directory: Path) -> AsyncGenerator[dict[str, str]]:
    """The servers of the page: in plaintext, with TLS and a token, and one for media."""
    token, digest = new_token()
    (directory / "token").write_text(token)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.crt")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(directory / "tls.pem")
    file = directory / "embedwire.toml"
    file.write_text(f'[[tokens]]\nname = "me"\nsha256 = "{digest}"\n')
    tls: dict[str, Any] = {"tls_certificate": directory / "tls.pem", "tls_key": directory / "tls.pem", "config": file}
    samples = partial(SimpleHTTPRequestHandler, directory=str(ROOT / "clients/python/examples/samples"))
    media = ThreadingHTTPServer(("127.0.0.1", 0), samples)
    Thread(target=media.serve_forever, daemon=True).start()
    try:
        async with ServerProcess.running() as plain, ServerProcess.running(**tls) as secure:
            port = secure.target.rpartition(":")[2]
            yield {PLAIN: plain.target, SECURE: f"localhost:{port}", MEDIA: f"127.0.0.1:{media.server_port}"}
    finally:
        media.shutdown()
        media.server_close()


def _commands(recipe: str) -> list[tuple[str, str]]:
    """The commands of a block, each with the lines below it."""
    found: list[tuple[str, str]] = []
    for part in re.split(r"^\$ ", recipe, flags=re.MULTILINE)[1:]:
        lines = part.split("\n")
        end = 1
        while lines[end].startswith("> "):
            end += 1
        found.append(("\n".join(line.removeprefix("> ") for line in lines[:end]), "\n".join(lines[end:])))
    return found


def _run(command: str, addresses: dict[str, str], directory: Path) -> str:
    for shown, real in addresses.items():
        command = command.replace(shown, real)
    command = command.replace("ca.crt", str(directory / "ca.crt"))
    prepared = f'PATH={ROOT}/build/bin:$PATH; export EMBEDWIRE_TOKEN="$(cat {directory}/token)"; {command}'
    ended = subprocess.run(
        ["bash", "-c", prepared],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )
    answer = ended.stdout
    for shown, real in addresses.items():
        answer = answer.replace(real, shown)
    return answer


def _steady(text: str) -> str:
    return _VARYING.sub("~", text).strip()
