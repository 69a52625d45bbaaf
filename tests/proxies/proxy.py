"""A proxy as a process, with its configuration of `deploy/proxies`."""

import asyncio
import contextlib
import dataclasses
import shutil
import signal
import ssl
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from embedwire.v1 import embedding_pb2_grpc
from tests.support.pki import Files
from tests.support.ports import held_port

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = {
    name: ROOT / "deploy/proxies" / f"{name}.{kind}"
    for name, kind in (("nginx", "conf"), ("haproxy", "cfg"), ("envoy", "yaml"))
}
PROTOSET = ROOT / "proto/embedwire.protoset"
# The configurations name two replicas.
_REPLICAS = ("10.0.0.11", "10.0.0.12")
# The configuration of a virtual server is included into this one. Its directories are not those of the system.
_NGINX = """
daemon off;
pid {directory}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {configuration};
}}
"""
# The proxy may start after the first attempt to connect.
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
)


@dataclasses.dataclass
class Proxy:
    """A running proxy, and a connection of a client to it."""

    name: str
    target: str
    trusted: ssl.SSLContext
    channel: grpc.aio.Channel
    stub: Any
    health: Any

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls,
        name: str,
        replicas: Sequence[str],
        files: Files,
        directory: Path,
        changes: Mapping[str, str] | None = None,
    ) -> AsyncGenerator["Proxy"]:
        """Start the proxy and wait until it accepts calls.

        Args:
            name: nginx, haproxy or envoy.
            replicas: HOST:PORT of the two replicas.
            files: its certificate.
            directory: an empty one, for its files.
            changes: texts of its configuration, and what they are replaced by.
        """
        with held_port() as port:
            target = f"127.0.0.1:{port}"
            configuration = directory / CONFIGURATIONS[name].name
            configuration.write_text(configured(name, port, replicas, files.directory, changes or {}))
            async with (
                grpc.aio.secure_channel(target, files.credentials(), _OPTIONS) as channel,
                _process(_command(name, configuration), directory / "log") as process,
            ):
                await _ready(process, channel, directory / "log")
                trusted = ssl.create_default_context()
                files.authority.configure_trust(trusted)
                stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(channel)
                yield cls(name, target, trusted, channel, stub, health_pb2_grpc.HealthStub(channel))


def configured(name: str, port: int, replicas: Sequence[str], etc: Path, changes: Mapping[str, str]) -> str:
    """Return the configuration, with other values in place of its examples."""
    text = CONFIGURATIONS[name].read_text()
    for old, new in {**changes, **_examples(name, port, replicas), "/etc/embedwire/": f"{etc}/"}.items():
        assert old in text, f"{CONFIGURATIONS[name]} does not contain {old!r}"
        text = text.replace(old, new)
    return text


def _examples(name: str, port: int, replicas: Sequence[str]) -> dict[str, str]:
    if name == "envoy":
        socket = "{{address: {}, port_value: {}}}"
        found = {socket.format("0.0.0.0", 443): socket.format("127.0.0.1", port)}
        return found | {
            socket.format(example, 50051): socket.format(*replica.split(":"))
            for example, replica in zip(_REPLICAS, replicas, strict=True)
        }
    listen = {"nginx": ("listen 443 ssl http2;", f"listen 127.0.0.1:{port} ssl http2;")}
    listen["haproxy"] = ("bind :443 ssl", f"bind 127.0.0.1:{port} ssl")
    return dict([listen[name]]) | {
        f"{example}:50051": replica for example, replica in zip(_REPLICAS, replicas, strict=True)
    }


def _command(name: str, configuration: Path) -> list[str]:
    if name == "nginx":
        whole = configuration.with_name("whole.conf")
        whole.write_text(_NGINX.format(directory=configuration.parent, configuration=configuration))
        return [_program(name), "-e", "stderr", "-c", str(whole)]
    if name == "haproxy":
        return [_program(name), "-db", "-f", str(configuration)]
    options = ("--disable-hot-restart", "--concurrency", "2", "--log-level", "warning")
    return [_program(name), "-c", str(configuration), *options]


def _program(name: str) -> str:
    """Return the path of a program: Envoy is in the virtual environment, the others may not be in PATH.

    Raises:
        AssertionError: it is not installed.
    """
    beside = Path(sys.executable).with_name(name)
    found = shutil.which(beside) or shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise AssertionError(f"{name} is not installed; make install-proxies installs it")
    return found


@contextlib.asynccontextmanager
async def _process(command: Sequence[str], log: Path) -> AsyncGenerator[asyncio.subprocess.Process]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)  # nginx has to end its workers
        await asyncio.wait_for(process.wait(), 30)


async def _ready(process: asyncio.subprocess.Process, channel: grpc.aio.Channel, log: Path) -> None:
    """Wait until the proxy accepts connections.

    Raises:
        AssertionError: it has ended, or takes too long; with its log.
    """
    connected, ended = asyncio.ensure_future(channel.channel_ready()), asyncio.ensure_future(process.wait())
    await asyncio.wait((connected, ended), timeout=30, return_when=asyncio.FIRST_COMPLETED)
    is_ready = connected.done()
    for task in (connected, ended):
        task.cancel()
    await asyncio.gather(connected, ended, return_exceptions=True)
    assert is_ready, log.read_text()
