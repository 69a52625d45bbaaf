"""TLS contexts of the server: the certificate authorities are read once, whatever hosts requests go to."""

import gc
import ssl

from embedwire_server.assembly import twelvelabs
from embedwire_server.observability.metrics import Metrics
from tests.support.serving import settings_of


def contexts() -> int:
    gc.collect()
    return sum(isinstance(found, ssl.SSLContext) for found in gc.get_objects())


async def test_one_context() -> None:
    """Hosts that the upstream chooses have the same context: each would cost 0.1 s of the event loop, and memory."""
    settings = settings_of(upstream="https://up.test/v1.3", api_key="key")
    async with twelvelabs(settings, Metrics("test"), None) as built:
        before = contexts()
        for number in range(3):
            built.client.sender.prepare(f"https://store-{number}.test")  # type: ignore[attr-defined] # the transport
        assert contexts() == before
