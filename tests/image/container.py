"""A running container, and its state in the kernel."""

import asyncio
import contextlib
import dataclasses
import itertools
import json
import re
import time
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.processes import free_port
from tests.image.engine import Engine
from tests.system.server import SERVICE

UID = 65532
SPOOL = "/var/spool/embedwire"
MEMORY_MIB, PROCESSES = 256, 64
# The strictest options; no tmpfs either, so that only the spool is writable.
CAGE = ["--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
CAGE += ["--memory", f"{MEMORY_MIB}m", "--memory-swap", f"{MEMORY_MIB}m", "--pids-limit", str(PROCESSES)]
CAGE += ["--network", "host", "--no-healthcheck"]  # a separate network may need more rights than this machine has
_NUMBERS = itertools.count()
# Names in version 2 of cgroups, and in version 1.
_CGROUP_FILES = {
    "memory.max": "memory.limit_in_bytes",
    "memory.current": "memory.usage_in_bytes",
    "memory.peak": "memory.max_usage_in_bytes",
    "memory.events": "memory.oom_control",
    "pids.max": "pids.max",
}


@dataclasses.dataclass
class Container:
    """A running container of the image, on the host's network.

    Attributes:
        name: of the container.
        target: HOST:PORT of gRPC.
        health_target: the same of its port for health checks.
        metrics_url: where its metrics are.
        began: when it was started, by `time.monotonic`.
        pid: of its process 1, as this machine counts.
        spool: where the volume of its spool is on this machine.
    """

    engine: Engine
    name: str
    target: str
    health_target: str
    metrics_url: str
    began: float
    pid: int = 0
    spool: Path = Path()

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls,
        engine: Engine,
        image: str,
        environment: Mapping[str, str],
        mounts: Mapping[Path, str] | None = None,
    ) -> AsyncGenerator["Container"]:
        """Start one with all restrictions and wait until it serves, by default in plaintext without tokens.

        Args:
            engine: what runs it.
            image: what it is of.
            environment: its settings.
            mounts: files and folders of this machine, and where it finds them (`:ro` behind: to be read only).
        """
        name = f"embedwire-image-test-{next(_NUMBERS)}"
        target, health, metrics = (f"127.0.0.1:{free_port()}" for _ in range(3))
        settings = {"EMBEDWIRE_LISTEN": _everywhere(target), "EMBEDWIRE_HEALTH_LISTEN": _everywhere(health)}
        settings |= {"EMBEDWIRE_METRICS_LISTEN": _everywhere(metrics), "EMBEDWIRE_INSECURE": "true"}
        words = [word for pair in {**settings, **environment}.items() for word in ("--env", "=".join(pair))]
        words += [word for path, place in (mounts or {}).items() for word in ("--volume", f"{path}:{place}")]
        self = cls(engine, name, target, health, f"http://{metrics}/metrics", time.monotonic())
        try:
            await asyncio.to_thread(engine.podman, "run", "--detach", "--name", name, *CAGE, *words, image)
            wanted = "{{.State.Pid}} {{range .Mounts}}{{.Destination}}={{.Source}} {{end}}"
            pid, *volumes = (await asyncio.to_thread(engine.podman, "inspect", "--format", wanted, name)).split()
            self.pid, self.spool = int(pid), Path(dict(volume.split("=", 1) for volume in volumes)[SPOOL])
            await self._serving()
            yield self
        finally:
            await asyncio.to_thread(engine.podman, "rm", "--force", "--volumes", "--time", "0", "--ignore", name)

    async def _serving(self) -> None:
        async with asyncio.timeout(60):
            while (status := await self.health()) != "SERVING":
                if not Path(f"/proc/{self.pid}").exists():
                    raise RuntimeError(f"the container ended instead of serving ({status}):\n{self.log()}")
                await asyncio.sleep(0.01)

    async def health(self) -> str:
        """Return the health status over the network, or the code of the failed call."""
        channel = grpc.aio.insecure_channel(self.health_target, [("grpc.use_local_subchannel_pool", 1)])
        async with channel:
            try:
                request = health_pb2.HealthCheckRequest(service=SERVICE)
                answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
            except grpc.aio.AioRpcError as error:
                return error.code().name
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    async def execute(self, *words: str, **environment: str) -> tuple[int, str]:
        """Run a program inside; return its exit code and output."""
        settings = [word for pair in environment.items() for word in ("--env", "=".join(pair))]
        ended = await asyncio.to_thread(self.engine.in_container, "exec", *settings, self.name, *words)
        return ended.returncode, (ended.stdout + ended.stderr).strip()

    async def python(self, program: str) -> Any:
        """Run a Python program inside; return its output, parsed as JSON."""
        code, printed = await self.execute("python", "-c", program)
        if code:
            raise RuntimeError(f"python inside ended with {code}: {printed}")
        return json.loads(printed)

    async def metrics(self) -> str:
        def page() -> str:
            with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:
                text: str = answer.read().decode()
                return text

        return await asyncio.to_thread(page)

    async def ended(self) -> int:
        """Wait for the end; return the exit code of process 1."""
        return int(await asyncio.to_thread(self.engine.podman, "wait", self.name, seconds=60))

    def log(self) -> str:
        ended = self.engine.in_container("logs", self.name)
        return ended.stdout + ended.stderr

    def status(self, name: str) -> str:
        """Return a line of process 1 in /proc."""
        found = re.search(rf"^{name}:\s+(.*)$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        return found[1] if found else ""

    def mib(self, name: str) -> float:
        """Return memory of process 1 by its name in /proc, VmRSS or VmHWM."""
        return int(self.status(name).split()[0]) / 1024

    def cgroup(self, file: str) -> str:
        """Return the content of a file of its control group, by its name in version 2."""
        controller = file.partition(".")[0]
        for line in Path(f"/proc/{self.pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                return (Path("/sys/fs/cgroup") / controller / path[1:] / _CGROUP_FILES[file]).read_text().strip()
            if not controllers and Path("/sys/fs/cgroup/cgroup.controllers").exists():
                return (Path("/sys/fs/cgroup") / path[1:] / file).read_text().strip()
        raise RuntimeError(f"the container has no control group for {controller}")

    def killed_for_memory(self) -> int:
        """Return how often the kernel's OOM killer ended a process."""
        return int(re.search(r"^oom_kill (\d+)$", self.cgroup("memory.events"), re.MULTILINE)[1])  # type: ignore[index]

    def spooled(self) -> list[str]:
        """Return the files in its spool that it has open, as named by the kernel."""
        links = []
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                links.append(str(link.readlink()))
        return [link for link in links if link.startswith(SPOOL)]

    def spool_bytes(self) -> int:
        """Return the disk space of those files."""
        taken = 0
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if str(link.readlink()).startswith(SPOOL):
                    taken += link.stat().st_blocks * 512
        return taken


def _everywhere(target: str) -> str:
    return target.replace("127.0.0.1", "0.0.0.0")
