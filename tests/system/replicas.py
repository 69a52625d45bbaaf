"""Several servers behind one address, each of which can be replaced by a new process."""

import contextlib
from typing import Any

from tests.system.experiment import Experiment
from tests.system.server import Server


class Replica:
    """One of several servers, with a fixed port.

    Attributes:
        codes: exit codes of its processes that were terminated.
    """

    def __init__(self, experiment: Experiment, upstream: str, port: int, **settings: Any) -> None:
        self.target = f"127.0.0.1:{port}"
        self._experiment, self._upstream, self._settings = experiment, upstream, settings
        self._running = contextlib.AsyncExitStack()
        self._server: Server | None = None
        self.codes: list[int] = []

    async def start(self) -> None:
        server = self._experiment.server(self._upstream, listen=self.target, **self._settings)
        self._server = await self._running.enter_async_context(server)

    async def restart(self) -> None:
        """Send SIGTERM, wait for the end of the process, and start another one; return when it serves."""
        if self._server is not None:
            self.codes.append(await self._server.terminate(60))
        await self.kill()
        await self.start()

    async def kill(self) -> None:
        await self._running.aclose()
