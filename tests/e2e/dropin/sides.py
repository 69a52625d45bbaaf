"""The same call in four ways: official SDK on a sandbox, drop-in through a server on it; each sync and async."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedwire.twelvelabs import AsyncTwelveLabs, TwelveLabs
from embedwire_sandbox import Fault, Sandbox
from tests.e2e.sandbox.official import create_async, create_sync
from tests.support.serving import Served


@dataclasses.dataclass
class Materials:
    """Arguments for a case: a folder, a URL of media, and files that are closed afterwards."""

    folder: Path
    url: str
    stack: contextlib.ExitStack

    def opened(self, name: str, content: bytes, position: int = 0) -> Any:
        (self.folder / name).write_bytes(content)
        file = self.stack.enter_context((self.folder / name).open("rb"))
        file.seek(position)
        return file

    def saved(self, name: str, content: bytes) -> Path:
        (self.folder / name).write_bytes(content)
        return self.folder / name


Arguments = Callable[[Materials], Mapping[str, Any]]


@dataclasses.dataclass
class Outcome:
    """The outcome of a call: a result with the names of the HTTP API, or an exception."""

    result: Any = None
    error: str = ""
    status: int | None = None
    code: str | None = None
    body: Any = None

    def without_words(self) -> "Outcome":
        """The outcome without the body, for cases in which the messages differ."""
        return dataclasses.replace(self, body=None)


@dataclasses.dataclass
class Bench:
    """A sandbox, and a server on it."""

    sandbox: Sandbox
    served: Served
    folder: Path
    url: str

    async def official(self, arguments: Arguments, faults: Sequence[Fault] = ()) -> list[Outcome]:
        """The outcome of the official SDK, sync and async."""
        return [
            await self._run(lambda given, create=create: create(self.sandbox, **given), arguments, faults)
            for create in (create_sync, create_async)
        ]

    async def drop_in(self, arguments: Arguments, faults: Sequence[Fault] = ()) -> list[Outcome]:
        """The outcome of the drop-in, sync and async."""

        async def sync(given: Mapping[str, Any]) -> Any:
            with TwelveLabs(target=self.served.app.target) as client:
                return await asyncio.to_thread(lambda: client.embed.create(**given))

        async def asynchronous(given: Mapping[str, Any]) -> Any:
            async with AsyncTwelveLabs(target=self.served.app.target) as client:
                return await client.embed.create(**given)

        return [await self._run(create, arguments, faults) for create in (sync, asynchronous)]

    async def _run(self, create: Callable[..., Any], arguments: Arguments, faults: Sequence[Fault]) -> Outcome:
        self.sandbox.faults.clear()
        self.sandbox.faults.add(*faults)
        with contextlib.ExitStack() as stack:
            given = {"model_name": "marengo3.0", **arguments(Materials(self.folder, self.url, stack))}
            try:
                return Outcome(as_float32((await create(given)).dict()))
            except Exception as error:  # noqa: BLE001 - any exception is compared
                body = getattr(error, "body", None)
                code = body.get("code") if isinstance(body, dict) else None
                return Outcome(None, type(error).__name__, getattr(error, "status_code", None), code, body)


def as_float32(value: Any) -> Any:
    """The same value with every vector as float32, the precision of an embedding."""
    if isinstance(value, dict):
        return {
            name: [float(np.float32(number)) for number in item] if name == "float" else as_float32(item)
            for name, item in value.items()
        }
    return [as_float32(item) for item in value] if isinstance(value, list) else value
