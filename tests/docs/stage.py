"""Servers at the addresses that the pages show, on ports that the test has bound."""

import asyncio
import contextlib
import dataclasses
import shutil
import subprocess
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import trustme

from embedwire_server.auth.tokens import new_token
from tests.docs.blocks import ROOT
from tests.support.fonts import build_font_cache
from tests.support.ports import held_port
from tests.support.process import ServerProcess

SAMPLES = ROOT / "clients/python/examples/samples"
# Addresses of the pages.
SERVER, METRICS, HEALTH = "127.0.0.1:50051", "127.0.0.1:9464", "127.0.0.1:50052"
SECURE, MEDIA, SANDBOX = "localhost:50443", "127.0.0.1:8099", "127.0.0.1:8400"
# Pages whose programs run beside the samples, as they say.
BESIDE_SAMPLES = ("clients/python/README.md", "docs/command-line.md", "docs/drop-in.md")
STARTS_A_SERVER = "embedwire-server serve &"


@dataclasses.dataclass
class Stage:
    """The folder of a page, the environment of its commands, and the real addresses for those that the page shows."""

    folder: Path
    variables: dict[str, str]
    addresses: dict[str, str]

    def real(self, command: str) -> str:
        """Return a command with the addresses of this test."""
        for shown, real in self.addresses.items():
            command = command.replace(shown, real)
        return command

    def shown(self, printed: str) -> str:
        """Return output with the addresses of the page."""
        for shown, real in self.addresses.items():
            printed = printed.replace(real, shown)
        return printed


def copy_checkout(folder: Path) -> Path:
    """Copy the files that belong to the repository, with uncommitted changes, but nothing that was built."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def pins(folder: Path) -> Path:
    """Write the pins of the development environment without hashes, since pip cannot check those of a folder."""
    lines = (ROOT / "requirements/dev.txt").read_text().splitlines()
    path = folder / ".pins.txt"
    path.write_text("".join(f"{line.removesuffix(chr(92))}\n" for line in lines if "==" in line))
    return path


@contextlib.asynccontextmanager
async def staged(page: str, text: str, folder: Path) -> AsyncGenerator[Stage]:
    """Prepare what the commands of a page need, in a copy of the checkout."""
    variables = {"PATH": f"{ROOT}/.venv/bin:{ROOT}/build/bin:/usr/local/bin:/usr/bin:/bin", "COLUMNS": "80"}
    variables |= {"LANG": "C.UTF-8", "PIP_CONSTRAINT": str(pins(folder))}
    variables |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "MPLCONFIGDIR": str(folder / ".matplotlib")}
    if "embedwire plot" in text:
        await asyncio.to_thread(build_font_cache, folder / ".matplotlib")
    stage = Stage(folder, variables, {})
    if page in BESIDE_SAMPLES:
        shutil.copytree(SAMPLES, folder, dirs_exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        for address in (HEALTH, SANDBOX):
            stage.addresses[address] = f"127.0.0.1:{stack.enter_context(held_port())}"
        if STARTS_A_SERVER in text:
            for address in (SERVER, METRICS):
                stage.addresses[address] = f"127.0.0.1:{stack.enter_context(held_port())}"
        else:
            server = await stack.enter_async_context(ServerProcess.running())
            stage.addresses |= {SERVER: server.target, METRICS: server.metrics_urls[0].split("/")[2]}
        if SECURE in text:
            stage.addresses[SECURE] = await stack.enter_async_context(_secured(stage))
        if MEDIA in text:
            stage.addresses[MEDIA] = stack.enter_context(_media())
        variables["EMBEDWIRE_LISTEN"] = variables["EMBEDWIRE_TARGET"] = stage.addresses[SERVER]
        variables["EMBEDWIRE_METRICS_LISTEN"] = stage.addresses[METRICS]
        yield stage


@contextlib.asynccontextmanager
async def _secured(stage: Stage) -> AsyncGenerator[str]:
    """Yield the address of a server with TLS and a token; `ca.crt` is in the folder, the token in the environment."""
    token, digest = new_token()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(stage.folder / "ca.crt")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(stage.folder / "tls.pem")
    file = stage.folder / "tokens.toml"
    file.write_text(f'[[tokens]]\nname = "me"\nsha256 = "{digest}"\n')
    pair = stage.folder / "tls.pem"
    settings: dict[str, Any] = {"tls_certificate": pair, "tls_key": pair, "config": file}
    stage.variables["EMBEDWIRE_TOKEN"] = token
    async with ServerProcess.running(**settings) as server:
        yield f"localhost:{server.target.rpartition(':')[2]}"


@contextlib.contextmanager
def _media() -> Iterator[str]:
    """Yield the address of a server of the samples."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(SAMPLES)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
