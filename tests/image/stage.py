"""What a check is given: the image, containers of it, and an upstream beside them."""

import asyncio
import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.image.container import Container
from tests.image.engine import Engine
from tests.system.verdict import Verdict

REPOSITORY = Path(__file__).parents[2]
_NAMES = {"api_key": "TWELVELABS_API_KEY"}  # the one setting that is not ours to name


@dataclasses.dataclass
class Stage:
    """The image under test.

    Attributes:
        engine: what holds and runs it.
        image: its name.
        base: the name of what it is built on.
        origin: where that is from.
        build_seconds: how long the build took.
    """

    engine: Engine
    image: str
    base: str
    origin: str
    build_seconds: float

    @property
    def facts(self) -> dict[str, Any]:
        """What the engine knows of the image."""
        return self.engine.facts(self.image)

    @contextlib.asynccontextmanager
    async def container(
        self, mounts: Mapping[Path, str] | None = None, **settings: object
    ) -> AsyncGenerator[Container]:
        """A container that serves, on its own sandbox unless the settings name an upstream."""
        chosen = {"upstream": "sandbox"} | settings
        environment = {_NAMES.get(name, f"EMBEDWIRE_{name.upper()}"): str(value) for name, value in chosen.items()}
        async with Container.running(self.engine, self.image, environment, mounts) as container:
            yield container

    @contextlib.contextmanager
    def file_system(self) -> Iterator[Path]:
        """The files of the image, to be read from here."""
        container = self.engine.buildah("from", "--pull-never", self.image)
        try:
            yield Path(self.engine.buildah("mount", container))
        finally:
            self.engine.buildah("umount", container)
            self.engine.buildah("rm", container)

    @contextlib.asynccontextmanager
    async def sandbox(self) -> AsyncGenerator[str]:
        """The sandbox as a process of this machine; its base URL."""
        command = [sys.executable, "-m", "embedwire_server", "sandbox", "--listen", "127.0.0.1:0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220 - two lines of output
            try:
                assert process.stdout is not None
                yield (await asyncio.to_thread(process.stdout.readline)).strip()
            finally:
                process.terminate()


Look = Callable[[Stage], Awaitable[Verdict]]


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A check by its name."""

    name: str
    look: Look

    @property
    def sentence(self) -> str:
        return (self.look.__doc__ or "").strip()


ALL: dict[str, Check] = {}


def check(name: str) -> Callable[[Look], Look]:
    """Add a function to the checks."""

    def add(look: Look) -> Look:
        ALL[name] = Check(name, look)
        return look

    return add
