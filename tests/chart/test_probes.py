"""The probes of the pod succeed against a real server that has the pod's variables."""

import asyncio
import sys
from pathlib import Path

from tests.chart.mounting import Mounts
from tests.chart.rendering import CASES, container, objects, one
from tests.support.http import ask, port_of
from tests.support.ports import held_port
from tests.support.process import ServerProcess


async def test_http_probes(tmp_path: Path) -> None:
    """The paths of the probes answer 200 on the port of the metrics."""
    found = objects(CASES["secret"])
    paths = {container(found)[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    mounts = Mounts(tmp_path, found)
    async with ServerProcess.running(environment=mounts.environment, health_listen="127.0.0.1:0") as server:
        (base,) = server.metrics_urls
        for path in paths:
            answer = await asyncio.to_thread(ask, port_of(base), path=path)
            assert answer.status == 200


async def test_the_pod_of_helm_test(tmp_path: Path) -> None:
    """The command of `helm test` reports the readiness of a server; the image's spool directory is not needed."""
    found = objects(CASES["secret"])
    (command,) = one(found, "Pod")["spec"]["containers"]
    *arguments, address = command["args"]
    assert address == "search-embedwire.vectors.svc:50052"
    environment = {each["name"]: each["value"] for each in command["env"]}
    with held_port() as port:
        health = f"127.0.0.1:{port}"
        async with ServerProcess.running(environment=Mounts(tmp_path, found).environment, health_listen=health):
            assert await outcome(environment, arguments, health) == (0, "SERVING\n")
        assert (await outcome(environment, arguments, health))[0] == 1


async def outcome(environment: dict[str, str], arguments: list[str], address: str) -> tuple[int | None, str]:
    """Run the server's command, with the variables of the image that matter; return exit code and output."""
    of_image = {"EMBEDWIRE_UPLOADS_SPOOL_DIR": "/var/spool/embedwire", "EMBEDWIRE_LISTEN": "0.0.0.0:50051"}
    process = await asyncio.create_subprocess_exec(
        *("env", *(f"{name}={text}" for name, text in (of_image | environment).items())),
        *(sys.executable, "-m", "embedwire_server", *arguments, address),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()
