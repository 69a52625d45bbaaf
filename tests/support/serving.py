"""A server in this process, called over a socket."""

import asyncio
import contextlib
import dataclasses
import urllib.request
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc

from embedwire.v1 import embedding_pb2_grpc
from embedwire_server.app import App
from embedwire_server.config.setting_table import nested
from embedwire_server.config.settings import Settings
from embedwire_server.config.validation import check
from tests.support.upstreams import ScriptedHttpServer

# Settings of all servers that tests start, in this process and in others; see conftest.py.
EVERYWHERE: dict[str, Any] = {}


@dataclasses.dataclass
class Served:
    """A running server, with its client stub and metrics."""

    app: App
    settings: Settings
    channel: grpc.aio.Channel
    stub: "embedding_pb2_grpc.EmbeddingServiceAsyncStub"

    def metrics(self) -> str:
        with urllib.request.urlopen(self.app.metrics_url, timeout=60) as page:
            text: str = page.read().decode()
            return text

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name whose labels include these."""
        total = 0.0
        for line in self.metrics().splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{text}"' in sample for key, text in labels.items()):
                total += float(value)
        return total


def settings_of(**values: Any) -> Settings:
    """Settings from flag names, validated like those of the command line."""
    return check(Settings(**nested(values)))


@contextlib.asynccontextmanager
async def serving(**settings: Any) -> AsyncGenerator[Served]:
    chosen: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "metrics_listen": "127.0.0.1:0",
        "upstream": "sandbox",
        "shutdown_grace_period": 1.0,
        **EVERYWHERE,
    } | settings
    used = settings_of(**chosen)
    async with App(used) as app, grpc.aio.insecure_channel(app.target) as channel:
        yield Served(app, used, channel, embedding_pb2_grpc.EmbeddingServiceStub(channel))  # type: ignore[arg-type]


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for an effect of another task or process; not for readiness."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Served]]
Scripted = Callable[..., contextlib.AbstractAsyncContextManager[tuple[Served, ScriptedHttpServer]]]
