import asyncio, ssl
from typing import Any, Callable
import httpx
class Dialer:
    target_prefix = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    def __init__(self, url: httpx.URL, proxy: Any = None, ca_file: Any = None) -> None:
        self.host, self.port = url.host, url.port or (443 if url.scheme == "https" else 80)
        self.ssl = ssl.create_default_context() if url.scheme == "https" else None
    async def connect(self, factory: Callable[[], Any], on_accepted: Callable[[], None]) -> Any:
        try:
            async with asyncio.timeout(10):
                _, p = await asyncio.get_running_loop().create_connection(factory, self.host, self.port, ssl=self.ssl)
        except TimeoutError as e:
            raise httpx.ConnectTimeout("x") from e
        except OSError as e:
            raise httpx.ConnectError("x") from e
        on_accepted()
        return p
