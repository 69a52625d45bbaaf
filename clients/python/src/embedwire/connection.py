"""Where the server is and how it is spoken to: address, TLS, credentials, metadata. For both clients."""

import dataclasses
import ipaddress
import re
import secrets
import time
from typing import Any

import grpc

from embedwire.details import FailedCall, pushback
from embedwire.options import CallOptions
from embedwire.version import __version__

DEFAULT_TARGET = "127.0.0.1:50051"
REQUEST_ID_KEY = "x-request-id"
UPSTREAM_KEY = "x-upstream-api-key"

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")

# What is longer wraps around in gRPC and is over at once; a server allows no more either.
LONGEST_SECONDS = 7 * 24 * 3600.0
_LAST_PORT = 65535

Metadata = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class TLS:
    """How the server proves who it is, and this client too if it must. Certificates and keys are PEM.

    Attributes:
        root_certificates: whom to trust; None trusts the roots that come with gRPC.
        certificate_chain: this client's certificate, for mutual TLS.
        private_key: the key of that certificate.
        server_name: the name that the server's certificate must have; None expects that of the target.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = dataclasses.field(default=None, repr=False)
    server_name: str | None = None


class Attempts:
    """What was refused before any work was done is called once more, when the server says so, within the same deadline.

    Not by gRPC's own retries: they would also repeat a call whose connection broke while the server was at work, and
    with grpcio 1.85 a stream of the synchronous stack whose second attempt finds nobody hangs beyond its deadline.

    Args:
        arguments: what gRPC takes for the call.
        most: how many attempts there may be.
    """

    def __init__(self, arguments: dict[str, Any], most: int) -> None:
        self._arguments = arguments
        self._deadline = time.monotonic() + arguments["timeout"]
        self._left = most - 1

    def arguments(self) -> dict[str, Any]:
        """What gRPC takes for the next attempt."""
        return self._arguments | {"timeout": max(0.0, self._deadline - time.monotonic())}

    def delay(self, refusal: FailedCall) -> float | None:
        """Seconds until the next attempt; None if there is none. Each answer counts as one."""
        seconds = pushback(refusal)
        if seconds is None or self._left < 1 or time.monotonic() + seconds >= self._deadline:
            return None
        self._left -= 1
        return seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """Everything that a channel and its calls are made of.

    Raises:
        ValueError: a credential cannot be sent, or would travel in plain text over a network.
    """

    target: str
    tls: TLS | None
    token: str | None = dataclasses.field(repr=False)
    upstream_api_key: str | None = dataclasses.field(repr=False)
    timeout: float | None
    wait_for_ready: bool
    retry_refusals: bool

    def __post_init__(self) -> None:
        for name, secret in (("token", self.token), ("upstream_api_key", self.upstream_api_key)):
            if secret is None:
                continue
            if not _HEADER_VALUE.fullmatch(secret):
                raise ValueError(f"{name}: must be printable ASCII without spaces, and not empty")
            if self.tls is None and not _is_local(self.target):
                raise ValueError(f"{name}: would travel in plain text; pass tls=True, or use a loopback target")
        _check_timeout(self.timeout)
        _check_target(self.target)
        roots = None if self.tls is None else self.tls.root_certificates
        if roots is not None and b"BEGIN CERTIFICATE" not in roots:
            raise ValueError("tls: the root certificates are not PEM")

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """What a secure channel is opened with; None if it is to be insecure."""
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(
            self.tls.root_certificates, self.tls.private_key, self.tls.certificate_chain
        )

    @property
    def channel_options(self) -> list[tuple[str, str | int]]:
        """Options of the channel."""
        options: list[tuple[str, str | int]] = [("grpc.primary_user_agent", f"embedwire-python/{__version__}")]
        if _is_local(self.target):  # credentials for this machine do not go to a proxy of the environment
            options.append(("grpc.enable_http_proxy", 0))
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def call(self, options: CallOptions, default: float) -> tuple[str, dict[str, Any]]:
        """The request id of a call, and the arguments that gRPC takes for it.

        Args:
            options: what the call chooses.
            default: seconds that it gets if neither it nor the client chooses.

        Raises:
            TypeError: an option that does not exist.
            ValueError: one that cannot be meant.
        """
        if unknown := options.keys() - CallOptions.__annotations__.keys():
            raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
        number = _request_id(options.get("request_id"))
        arguments = {
            "timeout": self._seconds(options.get("timeout"), default),
            "metadata": self._metadata(number),
            "wait_for_ready": self.wait_for_ready,
        }
        return number, arguments

    def attempts(self, arguments: dict[str, Any]) -> Attempts:
        """The attempts of a call with these arguments."""
        return Attempts(arguments, 2 if self.retry_refusals else 1)

    def _metadata(self, request_id: str) -> Metadata:
        pairs = [(REQUEST_ID_KEY, request_id)]
        if self.token is not None:
            pairs.append(("authorization", f"Bearer {self.token}"))
        if self.upstream_api_key is not None:
            pairs.append((UPSTREAM_KEY, self.upstream_api_key))
        return pairs

    def _seconds(self, chosen: float | None, default: float) -> float:
        _check_timeout(chosen)
        wanted = next(seconds for seconds in (chosen, self.timeout, default) if seconds is not None)
        return min(wanted, LONGEST_SECONDS)


def _request_id(chosen: str | None) -> str:
    if chosen is None:
        return secrets.token_hex(8)
    if not _REQUEST_ID.fullmatch(chosen):
        raise ValueError("request_id: must have 1 to 64 letters, digits and -_.: only")
    return chosen


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"timeout: must be a number of seconds, 0 or more, got {timeout}")


def _check_target(target: str) -> None:
    port = target.rpartition(":")[2]
    if not target or target != target.strip() or " " in target:
        raise ValueError("target: must be HOST:PORT, or another gRPC name, without spaces")
    if target.startswith(("http://", "https://")):
        raise ValueError("target: must be HOST:PORT without http://; TLS is chosen by tls")
    if port.isdecimal() and int(port) > _LAST_PORT:
        raise ValueError(f"target: there is no port {port}")


def _is_local(target: str) -> bool:
    """Whether what is sent there stays on this machine. Names other than localhost do not count."""
    scheme, _, rest = target.rpartition("://") if "://" in target else ("", "", target)
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    if scheme.lower() not in ("", "dns", "ipv4", "ipv6"):
        return False
    if scheme:
        authority, _, rest = rest.partition("/")
        if authority:  # a name server of the caller's choice, which decides what a name means
            return False
    host = re.sub(r"^(?:dns|ipv4|ipv6):", "", rest, flags=re.IGNORECASE)
    if match := re.fullmatch(r"\[(.*)\](?::\d+)?|([^:]*)(?::\d+)?|(.*)", host):
        host = next(group for group in match.groups() if group is not None)
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
