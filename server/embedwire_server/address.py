"""HOST:PORT: where something listens."""

import ipaddress
import re

LAST_PORT = 65535
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")


class Address(str):
    """HOST:PORT, for instance 127.0.0.1:50051 or [::1]:50051. Port 0 takes a free one."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """The part before the port, without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port, 0 to 65535."""
        return int(self.rpartition(":")[2])

    def with_port(self, port: int) -> "Address":
        """The same host, another port."""
        return Address(f"{self.rpartition(':')[0]}:{port}")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(text: str) -> Address:
    """Check HOST:PORT.

    Raises:
        ValueError: it is none; the text says what one looks like.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > LAST_PORT:
        raise ValueError("must be HOST:PORT, for instance 127.0.0.1:50051")
    return Address(text)
