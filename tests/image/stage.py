"""The environment of a check: the image, containers of it, and an upstream."""

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
_NAMES = {"api_key": "TWELVELABS_API_KEY"}  # the one variable whose name is not ours


@dataclasses.dataclass
class Stage:
    """The image under test.

    Attributes:
        engine: where it is stored and run.
        image: its name.
        base: name of its base image.
        origin: where the base image is from.
        build_seconds: duration of the build.
    """

    engine: Engine
    image: str
    base: str
    origin: str
    build_seconds: float

    @property
    def facts(self) -> dict[str, Any]:
        """Return the metadata of the image."""
        return self.engine.facts(self.image)

    @contextlib.asynccontextmanager
    async def container(
        self, mounts: Mapping[Path, str] | None = None, **settings: object
    ) -> AsyncGenerator[Container]:
        """Run a container that serves, on its own sandbox unless the settings name an upstream."""
        chosen = {"upstream": "sandbox"} | settings
        environment = {_NAMES.get(name, f"EMBEDWIRE_{name.upper()}"): str(value) for name, value in chosen.items()}
        async with Container.running(self.engine, self.image, environment, mounts) as container:
            yield container

    @contextlib.contextmanager
    def file_system(self) -> Iterator[Path]:
        """Mount the files of the image; yield the directory."""
        container = self.engine.buildah("from", "--pull-never", self.image)
        try:
            yield Path(self.engine.buildah("mount", container))
        finally:
            self.engine.buildah("umount", container)
            self.engine.buildah("rm", container)

    @contextlib.asynccontextmanager
    async def sandbox(self) -> AsyncGenerator[str]:
        """Run the sandbox as a process of this machine; yield its base URL."""
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
    """A check and its name."""

    name: str
    look: Look

    @property
    def sentence(self) -> str:
        return (self.look.__doc__ or "").strip()


ALL: dict[str, Check] = {}


def check(name: str) -> Callable[[Look], Look]:
    """Register a function as a check."""

    def add(look: Look) -> Look:
        ALL[name] = Check(name, look)
        return look

    return add
