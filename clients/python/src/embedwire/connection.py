"""Channel and call arguments of both clients: target, TLS, credentials, metadata, deadline, retry."""

import dataclasses
import ipaddress
import re
import secrets
import time
from typing import Any

import grpc

from embedwire.details import FailedCall, pushback_delay
from embedwire.options import CallOptions
from embedwire.version import __version__

DEFAULT_TARGET = "127.0.0.1:50051"
REQUEST_ID_KEY = "x-request-id"
UPSTREAM_KEY = "x-upstream-api-key"

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")

# gRPC overflows on very long timeouts and the call expires at once. The server's limit is the same.
MAX_TIMEOUT_SECONDS = 7 * 24 * 3600.0
_MAX_PORT = 65535

Metadata = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class TLS:
    """TLS settings: trusted roots, and a client certificate for mutual TLS. Certificates and keys are PEM.

    Attributes:
        root_certificates: the trusted roots; None means the roots that gRPC includes.
        certificate_chain: the client certificate, for mutual TLS.
        private_key: the key of that certificate.
        server_name: the name expected in the server's certificate; None means the host of the target.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = dataclasses.field(default=None, repr=False)
    server_name: str | None = None


class PushbackRetry:
    """Retry of a call after the delay in `grpc-retry-pushback-ms`, within the deadline of the first attempt.

    The server sends the delay if it rejected a call before any work. gRPC's own retries are not used: they also retry
    a call whose connection broke while the server processed it, and with grpcio 1.85 a synchronous stream hangs beyond
    its deadline if the second attempt finds no server.

    Args:
        arguments: keyword arguments of the gRPC call.
        max_attempts: largest number of attempts, the first one included.
    """

    def __init__(self, arguments: dict[str, Any], max_attempts: int) -> None:
        self._arguments = arguments
        self._deadline = time.monotonic() + arguments["timeout"]
        self._remaining_attempts = max_attempts - 1

    def call_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the next attempt, with the remaining time as its timeout."""
        return self._arguments | {"timeout": max(0.0, self._deadline - time.monotonic())}

    def delay(self, error: FailedCall) -> float | None:
        """Return the seconds until the next attempt; None if there is none. Counts the attempt."""
        seconds = pushback_delay(error)
        if seconds is None or self._remaining_attempts < 1 or time.monotonic() + seconds >= self._deadline:
            return None
        self._remaining_attempts -= 1
        return seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """Settings of a client, checked: they make the arguments of its channel and of its calls.

    Raises:
        ValueError: an argument is invalid, or a credential would be sent in plain text over a network.
    """

    target: str
    tls: TLS | None
    token: str | None = dataclasses.field(repr=False)
    upstream_api_key: str | None = dataclasses.field(repr=False)
    timeout: float | None
    wait_for_ready: bool
    retry_on_pushback: bool

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
        """The credentials of a secure channel; None for an insecure one."""
        if self.tls is None:
            return None
        return grpc.ssl_channel_credentials(
            self.tls.root_certificates, self.tls.private_key, self.tls.certificate_chain
        )

    @property
    def channel_options(self) -> list[tuple[str, str | int]]:
        """The channel arguments: user agent, proxy and TLS name."""
        options: list[tuple[str, str | int]] = [("grpc.primary_user_agent", f"embedwire-python/{__version__}")]
        if _is_local(self.target):  # never send credentials for this machine to a proxy
            options.append(("grpc.enable_http_proxy", 0))
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def call_arguments(self, options: CallOptions, default: float) -> tuple[str, dict[str, Any]]:
        """Return the request id of a call and the keyword arguments of the gRPC call.

        Args:
            options: the options of the call.
            default: timeout in seconds if neither the call nor the client has one.

        Raises:
            TypeError: an option is unknown.
            ValueError: an option is invalid.
        """
        if unknown := options.keys() - CallOptions.__annotations__.keys():
            raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
        request_id = _request_id(options.get("request_id"))
        arguments = {
            "timeout": self._timeout(options.get("timeout"), default),
            "metadata": self._metadata(request_id),
            "wait_for_ready": self.wait_for_ready,
        }
        return request_id, arguments

    def pushback_retry(self, arguments: dict[str, Any]) -> PushbackRetry:
        """Return the retry state of a call with these arguments."""
        return PushbackRetry(arguments, 2 if self.retry_on_pushback else 1)

    def _metadata(self, request_id: str) -> Metadata:
        pairs = [(REQUEST_ID_KEY, request_id)]
        if self.token is not None:
            pairs.append(("authorization", f"Bearer {self.token}"))
        if self.upstream_api_key is not None:
            pairs.append((UPSTREAM_KEY, self.upstream_api_key))
        return pairs

    def _timeout(self, chosen: float | None, default: float) -> float:
        _check_timeout(chosen)
        seconds = next(seconds for seconds in (chosen, self.timeout, default) if seconds is not None)
        return min(seconds, MAX_TIMEOUT_SECONDS)


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
    if port.isdecimal() and int(port) > _MAX_PORT:
        raise ValueError(f"target: there is no port {port}")


def _is_local(target: str) -> bool:
    """Whether the target is on this machine: a Unix socket, a loopback address or localhost. No other names count."""
    scheme, _, rest = target.rpartition("://") if "://" in target else ("", "", target)
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    if scheme.lower() not in ("", "dns", "ipv4", "ipv6"):
        return False
    if scheme:
        authority, _, rest = rest.partition("/")
        if authority:  # a custom DNS server may resolve localhost to any address
            return False
    host = re.sub(r"^(?:dns|ipv4|ipv6):", "", rest, flags=re.IGNORECASE)
    if match := re.fullmatch(r"\[(.*)\](?::\d+)?|([^:]*)(?::\d+)?|(.*)", host):
        host = next(group for group in match.groups() if group is not None)
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
