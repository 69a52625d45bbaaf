"""A redis-server in a process of its own, without persistence: it can hang, crash and lose its data."""

import asyncio
import contextlib
import dataclasses
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from tempfile import TemporaryDirectory

from embedwire_server.config.redis_url import RedisUrl
from tests.support.pki import Files
from tests.support.ports import held_port

SECONDS = 60


class _EndedError(RuntimeError):
    """The process has ended before it answered."""


@dataclasses.dataclass
class RedisServer:
    """A Redis server of a test.

    Attributes:
        url: its URL, with the password.
        options: options of redis-server, such as {"maxmemory": "2mb"}; `restart` uses the present ones.
        directory: where it runs; `redis.sock` in it is its Unix socket.
        tls: its certificate; None without TLS.
    """

    port: int
    directory: Path
    options: dict[str, str]
    tls: Files | None = None
    process: asyncio.subprocess.Process | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, tls: Files | None = None, **options: str) -> AsyncGenerator["RedisServer"]:
        """Start it on a free port of 127.0.0.1 and a Unix socket. Options have `_` for `-`."""
        with TemporaryDirectory(prefix="redis") as directory, held_port() as port:
            server = cls(port, Path(directory), {name.replace("_", "-"): text for name, text in options.items()}, tls)
            try:
                await server.start()
                yield server
            finally:
                await server.kill()

    @property
    def url(self) -> RedisUrl:
        return RedisUrl(self.text)

    @property
    def text(self) -> str:
        """The URL as a setting."""
        password = self.options.get("requirepass")
        credentials = f":{password}@" if password else ""
        return f"redis{'s' if self.tls else ''}://{credentials}127.0.0.1:{self.port}/0"

    @property
    def socket_text(self) -> str:
        """The URL of its Unix socket as a setting."""
        return f"unix://{self.directory}/redis.sock"

    async def start(self) -> None:
        """Start it, empty, and wait until it answers. If it ends, report its log and try again."""
        try:
            await self._start()
        except _EndedError as error:
            sys.stderr.write(f"redis-server has ended: {error}\n")
            await self._start()

    async def _start(self) -> None:
        port = {"port": "0", "tls-port": str(self.port)} if self.tls else {"port": str(self.port)}
        chosen = {
            "bind": "127.0.0.1",
            **port,
            "unixsocket": f"{self.directory}/redis.sock",
            "save": "",
            "appendonly": "no",
            "dir": str(self.directory),
            "logfile": str(self.directory / "redis.log"),
            **self._tls_options(),
            **self.options,
        }
        words = [word for name, text in chosen.items() for word in (f"--{name}", text)]
        self.process = await asyncio.create_subprocess_exec(
            "redis-server", *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(SECONDS):
            while not self._answers():
                if self.process.returncode is not None:
                    raise _EndedError(f"exit status {self.process.returncode}: {self._log}")
                await asyncio.sleep(0.01)

    @property
    def _log(self) -> str:
        path = self.directory / "redis.log"
        return path.read_text()[-1000:] if path.exists() else ""

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(SECONDS)
            client.connect(f"{self.directory}/redis.sock")
            client.sendall(b"PING\r\n")
            return client.recv(1) != b""
        return False

    def _tls_options(self) -> dict[str, str]:
        if self.tls is None:
            return {}
        files = {"tls-cert-file": self.tls.certificate, "tls-key-file": self.tls.key}
        return {name: str(path) for name, path in files.items()} | {"tls-auth-clients": "no"}

    def pause(self) -> None:
        """Let it hang: its connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue; it then answers what was sent meanwhile."""
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """Let it crash; its data is lost."""
        if self.process is not None and self.process.returncode is None:
            self._signal(signal.SIGKILL)
            await self.process.wait()

    async def restart(self) -> None:
        """Let it crash, and start it without data on the same port."""
        await self.kill()
        await self.start()

    def _signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def command(self, *words: str) -> str:
        """Run a command with redis-cli, and return its output."""
        password = self.options.get("requirepass")
        credentials = ["--no-auth-warning", "-a", password] if password else []
        process = await asyncio.create_subprocess_exec(
            "redis-cli", "-s", f"{self.directory}/redis.sock", *credentials, *words, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return output.decode().strip()
