"""The scene of an incident: a server process, its upstream and its clients."""

import asyncio
import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire_sandbox import Sandbox, SandboxOptions
from tests.support.messages import text_input
from tests.support.pki import bearer, sha256
from tests.support.ports import held_port
from tests.support.process import ServerProcess

KEY = "key-of-the-account"
TOKENS = ("search", "indexer")
DEADLINE = 20.0  # longer than any wait of normal traffic
PAUSE = 0.2  # of each caller of the normal traffic, after each call
_CONFIGURATION = "".join(f'[[tokens]]\nname = "{name}"\nsha256 = "{sha256(name)}"\n' for name in TOKENS)

Call = Callable[[], Awaitable[grpc.StatusCode]]


class Account:
    """The upstream: a sandbox that can be stopped, and started again on its port with other options."""

    def __init__(self, port: int, options: SandboxOptions) -> None:
        self._port = port
        self._options = options
        self.sandbox = Sandbox(options)

    async def start(self, **changed: Any) -> None:
        """Listen, with these options changed."""
        self.sandbox = Sandbox(dataclasses.replace(self._options, **changed))
        await self.sandbox.start("127.0.0.1", self._port)

    async def restart(self, **changed: Any) -> None:
        await self.sandbox.stop()
        await self.start(**changed)


@dataclasses.dataclass
class Scene:
    """What a fault acts on.

    Attributes:
        server: the server process.
        account: its upstream.
        configuration: its configuration file.
        codes: status codes of all calls so far.
    """

    server: ServerProcess
    account: Account
    configuration: Path
    codes: Counter[str] = dataclasses.field(default_factory=Counter)
    _number: "itertools.count[int]" = dataclasses.field(default_factory=itertools.count)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, directory: Path, options: SandboxOptions, settings: dict[str, Any]
    ) -> AsyncGenerator["Scene"]:
        """Start the upstream and the server."""
        directory.mkdir(parents=True, exist_ok=True)
        configuration = directory / "embedwire.toml"
        configuration.write_text(_CONFIGURATION)
        with held_port() as port:
            account = Account(port, dataclasses.replace(options, api_key=KEY))
            await account.start()
            try:
                chosen: dict[str, Any] = {"upstream": account.sandbox.base_url, "config": configuration} | settings
                async with ServerProcess.running(key=KEY, **chosen) as server:
                    yield cls(server, account, configuration)
            finally:
                await account.sandbox.stop()

    @property
    def metrics_address(self) -> str:
        """HOST:PORT of the metrics."""
        return self.server.metrics_urls[0].split("/")[2]

    async def text(self, deadline: float) -> grpc.StatusCode:
        """Make a call with one text, as the next of the clients."""
        number = next(self._number)
        request = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input(f"text {number}")])
        metadata = bearer(TOKENS[number % len(TOKENS)])
        return await self.server.stub.CreateEmbeddingUnary(request, timeout=deadline, metadata=metadata).code()

    @contextlib.asynccontextmanager
    async def traffic(self, callers: int, pause: float, deadline: float = DEADLINE) -> AsyncGenerator[None]:
        """Make calls with texts, until the end of the context."""
        async with self.repeated([lambda: self.text(deadline)] * callers, pause):
            yield

    @contextlib.asynccontextmanager
    async def repeated(self, calls: Sequence[Call], pause: float) -> AsyncGenerator[None]:
        """Repeat each of these calls, with a pause after each, until the end of the context."""
        is_over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(self._repeat(call, pause, is_over))
            try:
                yield
            finally:
                is_over.set()

    async def _repeat(self, call: Call, pause: float, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            self.codes[(await call()).name] += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), pause)
