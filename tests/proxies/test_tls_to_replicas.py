"""TLS between proxy and replicas, with the lines of docs/proxies.md."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
import trustme

from tests.proxies.calls import SECONDS, failed_or_none, text
from tests.proxies.proxy import ROOT
from tests.proxies.stage import NAMES, Stage
from tests.support.process import ServerProcess

PAGE = (ROOT / "docs/proxies.md").read_text()
# Language of the lines on the page, and where they belong.
PLACES = {
    "nginx": ("nginx", "grpc_pass grpc://embedwire;", ""),
    "haproxy": ("haproxy", "default-server proto h2 check inter 1s fall 1 rise 1", ""),
    "envoy": ("yaml", "      health_checks:", "      health_checks:"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def replica(stage: Stage) -> AsyncGenerator[str]:
    """Return the address of a server with TLS."""
    async with ServerProcess.running(upstream=stage.upstream.base_url, **stage.files.settings) as server:
        yield server.target


@pytest.mark.usefixtures("upstream")
@pytest.mark.parametrize(
    ("name", "authority", "code"),
    [
        ("localhost", None, None),
        ("other.internal", None, grpc.StatusCode.UNAVAILABLE),
        ("localhost", trustme.CA(), grpc.StatusCode.UNAVAILABLE),
    ],
    ids=["right", "other-name", "other-authority"],
)
@pytest.mark.parametrize("proxy_name", NAMES)
async def test_the_proxy_checks_the_certificate_of_a_replica(
    stage: Stage, replica: str, proxy_name: str, tmp_path: Path, name: str, authority: trustme.CA | None, code: object
) -> None:
    """A call passes only if the certificate of the replica is of the authority and for the name."""
    language, place, rest = PLACES[proxy_name]
    (lines,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    lines = lines.replace("embedwire.internal", name)
    if authority is not None:
        authority.cert_pem.write_to_path(tmp_path / "other.crt")
        lines = lines.replace("/etc/embedwire/replicas-ca.crt", f"{tmp_path}/other.crt")
    async with stage.behind(proxy_name, tmp_path, {place: lines + rest}, [replica] * 2) as proxy:
        error = await failed_or_none(proxy.stub.CreateEmbeddingUnary(text(), timeout=SECONDS))

    assert (error and error.code()) == code
