"""What the tests share: an upstream, two replicas and the three proxies in front of them."""

import contextlib
import dataclasses
import shutil
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.proxies.proxy import CONFIGURATIONS, PROTOSET, Proxy
from tests.support.pki import Files
from tests.support.process import ServerProcess
from tests.support.upstreams import ScriptedHttpServer, answer

NAMES = tuple(CONFIGURATIONS)
# So that a second image is rejected; texts and audio have no limit.
_IMAGES_PER_MINUTE = 1


@dataclasses.dataclass
class Stage:
    """The shared servers, and what further proxies need.

    Attributes:
        upstream: it follows the script of the test.
        replicas: the servers.
        proxies: the proxies by their names.
        files: the certificate of all proxies; its directory has everything that their configurations name.
    """

    upstream: ScriptedHttpServer
    replicas: list[ServerProcess]
    files: Files
    proxies: dict[str, Proxy] = dataclasses.field(default_factory=dict)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, directory: Path) -> AsyncGenerator["Stage"]:
        async with contextlib.AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(ScriptedHttpServer(answer).running())
            settings: dict[str, Any] = {
                "upstream": upstream.base_url,
                "rate_limits_image_requests_per_minute": _IMAGES_PER_MINUTE,
            }
            replicas = [await stack.enter_async_context(ServerProcess.running(**settings)) for _ in range(2)]
            stage = cls(upstream, replicas, certificate(directory))
            for name in NAMES:
                stage.proxies[name] = await stack.enter_async_context(stage.behind(name, directory / name))
            yield stage

    @contextlib.asynccontextmanager
    async def behind(
        self, name: str, directory: Path, changes: Mapping[str, str] | None = None, replicas: list[str] | None = None
    ) -> AsyncGenerator[Proxy]:
        """Start one more proxy, of the same replicas or of others."""
        directory.mkdir(exist_ok=True)
        targets = replicas or [replica.target for replica in self.replicas]
        async with Proxy.running(name, targets, self.files, directory, changes) as proxy:
            yield proxy

    def handled(self, code: str) -> float:
        """Return the number of calls of EmbeddingService that ended with this status code, of both replicas."""
        return sum(handled(replica, code) for replica in self.replicas)


def certificate(directory: Path) -> Files:
    """Make the files that the configurations name."""
    files = Files(directory)
    shutil.copy(PROTOSET, directory)
    (directory / "replicas-ca.crt").write_bytes(files.authority.cert_pem.bytes())
    return files


def handled(replica: ServerProcess, code: str) -> float:
    """Return the number of calls of EmbeddingService that ended with this status code."""
    wanted = {"grpc_service": "embedwire.v1.EmbeddingService", "grpc_code": code}
    return sum(
        sample.value
        for family in text_string_to_metric_families(replica.metrics())
        for sample in family.samples
        if sample.name == "grpc_server_handled_total" and wanted.items() <= sample.labels.items()
    )
