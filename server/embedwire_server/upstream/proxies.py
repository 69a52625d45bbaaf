"""The proxy that connections to the upstream go through."""

import base64
import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy for HTTP.

    Attributes:
        host: its name or address, without brackets.
        port: its port.
        is_tls: whether the connection to the proxy itself uses TLS.
        user: the credentials, as `user:password`; they appear in no repr.
    """

    host: str
    port: int
    is_tls: bool = False
    user: bytes | None = dataclasses.field(default=None, repr=False)

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What requests to the proxy carry: the credentials."""
        if self.user is None:
            return ()
        return ((b"Proxy-Authorization", b"Basic " + base64.b64encode(self.user)),)

    @property
    def address(self) -> str:
        """HOST:PORT, for logs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
