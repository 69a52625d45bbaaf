"""The servers of the cases: real ones with a scripted upstream, certificates and tokens, or none."""

import contextlib
import dataclasses
import hashlib
import signal
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization

from tests.conformance.cases import servers
from tests.support.process import ServerProcess
from tests.support.serving import until
from tests.support.upstreams import ScriptedHttpServer, Visit

HOST = "127.0.0.1"


@dataclasses.dataclass
class Server:
    """A server and its upstream."""

    process: ServerProcess
    upstream: ScriptedHttpServer

    async def shut_down(self) -> None:
        """Send SIGTERM; return when the server has begun to drain."""
        self.process.process.send_signal(signal.SIGTERM)
        await until(lambda: any("draining" in line for line in self.process.log))


class Stage:
    """The servers by name. Each is started once, unless every case needs a fresh one.

    Args:
        folder: where certificates, configurations and files are.
    """

    def __init__(self, folder: Path, stack: contextlib.AsyncExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._specs = servers()
        self._running: dict[str, Server] = {}
        _certificates(folder)

    async def server(self, name: str, stack: contextlib.AsyncExitStack) -> Server:
        """Return the server of this name; a fresh one ends with the stack."""
        spec = self._specs[name]
        if spec.get("is_fresh"):
            return await stack.enter_async_context(self._started(name, spec))
        if name not in self._running:
            self._running[name] = await self._stack.enter_async_context(self._started(name, spec))
        return self._running[name]

    @contextlib.asynccontextmanager
    async def _started(self, name: str, spec: dict[str, Any]) -> AsyncGenerator[Server]:
        settings = dict(spec.get("flags", {}))
        settings |= {flag: str(self.folder / file) for flag, file in spec.get("files", {}).items()}
        if "tokens" in spec:
            settings["config"] = _configuration(self.folder / f"{name}.toml", spec["tokens"])
        async with contextlib.AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(ScriptedHttpServer(_nothing).running())
            settings["upstream"] = upstream.base_url
            if spec.get("has_no_upstream"):
                port = stack.enter_context(reserved_port()).getsockname()[1]
                settings["upstream"] = f"http://{HOST}:{port}"
            running = ServerProcess.running(key=spec.get("key", ""), **settings)
            yield Server(await stack.enter_async_context(running), upstream)


@contextlib.contextmanager
def reserved_port() -> Any:
    """Reserve a port of this machine on which no process listens."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((HOST, 0))
        yield reserved


async def _nothing(visit: Visit) -> None:
    await visit.answer(b"no case is running", 500)


def _configuration(path: Path, tokens: list[dict[str, Any]]) -> str:
    """Write a configuration file with these tokens, hashed here, so that cases contain what is sent."""
    lines = []
    for token in tokens:
        facts = {name: value for name, value in token.items() if name != "token"}
        facts["sha256"] = hashlib.sha256(token["token"].encode()).hexdigest()
        lines += ["[[tokens]]", *(f"{name} = {value!r}" for name, value in facts.items())]
    path.write_text("\n".join(lines))
    return str(path)


def _certificates(folder: Path) -> None:
    """Create an authority with certificates for the server and a client, and another one with a client certificate."""
    for name in ("own", "other"):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / f"{name}-ca.pem")
        for owner, names in (("server", (HOST, "localhost")), ("named", ("embeddings.internal",)), ("client", ("c",))):
            issued = authority.issue_cert(*names)
            (folder / f"{name}-{owner}.key").write_bytes(_pkcs8(issued.private_key_pem.bytes()))
            for blob in issued.cert_chain_pems:
                blob.write_to_path(folder / f"{name}-{owner}.pem", append=True)


def _pkcs8(pem: bytes) -> bytes:
    """Return the key in PKCS #8, which every language reads."""
    key = serialization.load_pem_private_key(pem, None)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
