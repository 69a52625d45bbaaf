"""Settings of a client (target, TLS, credentials, deadlines), and the channel and call arguments built from them."""

import dataclasses
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from embedwire.inputs import AnyInput, Audio
from embedwire.loopback import is_loopback
from embedwire.options import MAX_TIMEOUT_SECONDS, CallOptions, check_timeout
from embedwire.pushback import PushbackRetry
from embedwire.tracing import trace_context
from embedwire.version import __version__

DEFAULT_TARGET = "127.0.0.1:50051"
REQUEST_ID_KEY = "x-request-id"
UPSTREAM_KEY = "x-upstream-api-key"
# Default deadlines of the contract. The client sets them too, so that a call cannot hang on a dead connection.
TEXT_SECONDS = 60.0  # texts and images
AUDIO_SECONDS = 600.0  # with audio
TASK_SECONDS = 3600.0  # with audio that the upstream may process as a task

_KEEPALIVE_TIMEOUT_MS = 20_000
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_MAX_PORT = 65535


@dataclasses.dataclass(frozen=True, slots=True)
class TLS:
    """TLS settings: root certificates, and a client certificate for mutual TLS. Certificates and keys are PEM.

    Attributes:
        root_certificates: trusted root certificates; None means those of gRPC.
        certificate_chain: client certificate chain, for mutual TLS.
        private_key: private key of the client certificate.
        server_name: expected name of the server certificate; None means the host of the target.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = dataclasses.field(default=None, repr=False)
    server_name: str | None = None


def default_timeout(inputs: Sequence[AnyInput]) -> float:
    """Return the default timeout of a call in seconds.

    Only the server knows whether it selects a task for audio, so audio that does not exclude tasks has their timeout.
    """
    modes = {item.processing_mode for item in inputs if isinstance(item, Audio)}
    if not modes:
        return TEXT_SECONDS
    return AUDIO_SECONDS if modes == {"sync"} else TASK_SECONDS


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Settings of a client, checked. The attributes are the arguments of `Client`.

    Raises:
        ValueError: an argument is invalid, or a credential would be sent in plaintext to a non-loopback address.
    """

    target: str
    tls: TLS | bool
    token: str | None = dataclasses.field(repr=False)
    upstream_api_key: str | None = dataclasses.field(repr=False)
    timeout: float | None
    wait_for_ready: bool
    retry_on_pushback: bool
    channels: int
    keepalive_time: float | None
    interceptors: Sequence[Any]
    channel_options: Sequence[tuple[str, Any]]

    def __post_init__(self) -> None:
        for name, secret in (("token", self.token), ("upstream_api_key", self.upstream_api_key)):
            if secret is None:
                continue
            if not _HEADER_VALUE.fullmatch(secret):
                raise ValueError(f"{name}: must be printable ASCII without spaces, and not empty")
            if not self.tls and not is_loopback(self.target):
                raise ValueError(f"{name}: would be sent in plaintext; pass tls=True, or use a loopback target")
        check_timeout("timeout", self.timeout)
        if self.keepalive_time is not None and not self.keepalive_time > 0:
            raise ValueError(f"keepalive_time: must be a number of seconds above 0, or None, got {self.keepalive_time}")
        if self.channels < 1:
            raise ValueError(f"channels: must be 1 or more, got {self.channels}")
        _check_target(self.target)
        roots = self.tls.root_certificates if isinstance(self.tls, TLS) else None
        if roots is not None and b"BEGIN CERTIFICATE" not in roots:
            raise ValueError("tls: root_certificates must be PEM")

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `Client`, by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """The credentials of a secure channel; None for an insecure one."""
        if not self.tls:
            return None
        tls = self.tls if isinstance(self.tls, TLS) else TLS()
        return grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)

    @property
    def grpc_options(self) -> list[tuple[str, Any]]:
        """The channel arguments of gRPC; those of the caller come last and take precedence."""
        options: dict[str, Any] = {
            "grpc.primary_user_agent": f"embedwire-python/{__version__}",
            "grpc.lb_policy_name": "round_robin",  # calls go to all addresses of a name
            "grpc.use_local_subchannel_pool": 1,  # else all channels of the process to a target share a connection
        }
        if self.keepalive_time is not None:
            options["grpc.keepalive_time_ms"] = round(self.keepalive_time * 1000)
            options["grpc.keepalive_timeout_ms"] = _KEEPALIVE_TIMEOUT_MS
            options["grpc.http2.ping_timeout_ms"] = _KEEPALIVE_TIMEOUT_MS  # grpcio 1.85 uses this one instead
            options["grpc.http2.max_pings_without_data"] = 0  # no limit: a call may wait for minutes
        if is_loopback(self.target):  # never send credentials for this machine to a proxy
            options["grpc.enable_http_proxy"] = 0
        if isinstance(self.tls, TLS) and self.tls.server_name is not None:
            options["grpc.ssl_target_name_override"] = self.tls.server_name
        return list((options | dict(self.channel_options)).items())

    def call_timeout(self, options: Mapping[str, Any], inputs: Sequence[AnyInput]) -> float:
        """Return the timeout of a call with these inputs: that of the options, of the client, or the default."""
        chosen = options.get("timeout")
        seconds = self.timeout if chosen is None else chosen
        return min(default_timeout(inputs) if seconds is None else seconds, MAX_TIMEOUT_SECONDS)

    def call_arguments(self, options: CallOptions, inputs: Sequence[AnyInput] = ()) -> tuple[str, dict[str, Any]]:
        """Return the request id of a call, and the keyword arguments of the gRPC call.

        Args:
            options: the options of the call, checked.
            inputs: its inputs, which decide on the default timeout.
        """
        request_id = options.get("request_id") or secrets.token_hex(8)
        arguments = {
            "timeout": self.call_timeout(options, inputs),
            "metadata": [*self._metadata(request_id), *trace_context()],
            "wait_for_ready": self.wait_for_ready,
        }
        return request_id, arguments

    def pushback_retry(self, arguments: dict[str, Any], *, enabled: bool = True) -> PushbackRetry:
        """Return the retry state of a call with these arguments."""
        return PushbackRetry(arguments, 2 if self.retry_on_pushback and enabled else 1)

    def _metadata(self, request_id: str) -> list[tuple[str, str]]:
        pairs = [(REQUEST_ID_KEY, request_id)]
        if self.token is not None:
            pairs.append(("authorization", f"Bearer {self.token}"))
        if self.upstream_api_key is not None:
            pairs.append((UPSTREAM_KEY, self.upstream_api_key))
        return pairs


def _check_target(target: str) -> None:
    port = target.rpartition(":")[2]
    if not target or target != target.strip() or " " in target:
        raise ValueError("target: must be HOST:PORT, or another gRPC target, without spaces")
    if target.startswith(("http://", "https://")):
        raise ValueError("target: must be HOST:PORT without http://; use the argument tls for TLS")
    if port.isdecimal() and int(port) > _MAX_PORT:
        raise ValueError(f"target: port must be at most {_MAX_PORT}, got {port}")
