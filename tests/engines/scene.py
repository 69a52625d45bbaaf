"""The scene of a test: two servers, the texts, and runs of an example that are killed or end normally."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.engines.upstream import REJECTED, EnginesUpstream, expected
from tests.system.server import Server

EXAMPLES = Path(__file__).parents[2] / "clients/python/examples"
ROWS = 100  # of a file of the output
SECONDS = 400  # a run takes at most this long on a loaded machine
_MARK = "EMBEDWIRE_TEST_RUN"


def texts(number: int) -> dict[str, str]:
    """Return texts by key. The upstream rejects one of them, the server another."""
    found = {f"key-{index}": f"text {index} about foxes" for index in range(number)}
    return found | {"key-7": f"{REJECTED} text", "key-8": ""}


@dataclasses.dataclass
class Scene:
    """Two servers, one upstream, and the texts by key."""

    folder: Path
    texts: dict[str, str]
    upstream: EnginesUpstream
    servers: Sequence[Server]

    @property
    def output(self) -> Path:
        return self.folder / "embeddings"

    @property
    def target(self) -> str:
        """The address of both servers, which the client uses in turn."""
        return "ipv4:" + ",".join(server.target for server in self.servers)

    async def paid(self) -> int:
        """Return the number of texts that were paid for."""
        return sum((await self.upstream.paid()).values())

    def write_texts(self, found: dict[str, str]) -> None:
        """Write the input; the output is compared with these texts."""
        self.texts = found
        table = pa.table({"key": list(found), "text": list(found.values())})
        pq.write_table(table, self.folder / "texts.parquet", row_group_size=500)

    @contextlib.asynccontextmanager
    async def running(self, command: Sequence[str]) -> AsyncGenerator["Run"]:
        """Start an example with a command of the page; kill all of its processes at the end."""
        mark = uuid.uuid4().hex
        words = [self.target if word.startswith("dns:") else word for word in command]
        with tempfile.TemporaryDirectory(dir="/tmp") as short, (self.folder / f"{mark}.log").open("wb") as log:
            variables = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", _MARK: mark}
            variables |= {"RAY_TMPDIR": short, "SPARK_LOCAL_DIRS": short}  # paths of sockets must be short
            process = await asyncio.create_subprocess_exec(
                *("env", *(f"{name}={value}" for name, value in variables.items()), *words, str(ROWS)),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            run = Run(process, mark, Path(log.name))
            try:
                yield run
            finally:
                await run.kill()

    async def complete(self, command: Sequence[str]) -> None:
        """Run an example to its end."""
        async with self.running(command) as run:
            code = await asyncio.wait_for(run.process.wait(), SECONDS)
        assert code == 0, run.log.read_text()

    async def killed(self, command: Sequence[str], after: int) -> None:
        """Run an example, and kill it when `after` texts are paid for, and some of them are in no file."""
        async with self.running(command) as run:
            await self.reach(run, after, unsaved=ROWS // 4)

    async def reach(self, run: "Run", paid: int, unsaved: int = 0) -> None:
        """Wait until this number of texts is paid for, and this number of them is in no file, but there is a file."""
        async with asyncio.timeout(SECONDS):
            while True:
                files, found = len(self.files()), await self.paid()
                if files and found >= max(paid, files * ROWS + unsaved):
                    return
                assert run.process.returncode is None, "it ended before:\n" + run.log.read_text()
                await asyncio.sleep(0.01)

    def files(self) -> list[Path]:
        """Return the files of the output, as readers of a dataset find them."""
        return [path for path in self.output.glob("*.parquet") if path.name[0] not in "._"]

    def check_output(self) -> None:
        """Each text is in the output once, with the vector of that text or with an error."""
        rows = [row for path in self.files() for row in pq.ParquetFile(path).read().to_pylist()]
        assert sorted(row["key"] for row in rows) == sorted(self.texts)
        wrong = [row["key"] for row in rows if not _is_right(row, self.texts[row["key"]])]
        assert wrong == []


def _is_right(row: Mapping[str, Any], text: str) -> bool:
    if text.startswith(REJECTED):
        return str(row["error"]).startswith("INPUT_REJECTED")
    if not text:
        return str(row["error"]).startswith("INVALID_REQUEST")
    return row["error"] is None and row["vector"] == expected(text)


@dataclasses.dataclass
class Run:
    """A running example.

    Attributes:
        process: its first process.
        mark: value of an environment variable that all of its processes have.
        log: what they print.
    """

    process: asyncio.subprocess.Process
    mark: str
    log: Path

    async def kill(self) -> None:
        """Send SIGKILL to all processes of the run: Ray's are in several process groups. Return when they ended."""
        async with asyncio.timeout(60):
            while found := _processes(f"{_MARK}={self.mark}".encode()):
                for number in found:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)
                await asyncio.sleep(0.05)
        await self.process.wait()


def _processes(variable: bytes) -> list[int]:
    """Return the processes with this variable in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if variable in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found
