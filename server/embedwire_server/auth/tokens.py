"""Bearer tokens, of which only hashes are stored, and their permissions."""

import dataclasses
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Protocol

from embedwire_server.auth.own_tasks import OwnTasks
from embedwire_server.core.errors import IdentifierDenied, PermissionDenied, Unauthenticated
from embedwire_server.core.inputs import EmbedRequest, Quota, upstream_id_of
from embedwire_server.core.models import Modality, Model

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BEARER = re.compile(r"bearer +([\x21-\x7e]{1,512})", re.IGNORECASE)
_TOKEN_BYTES = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """One named caller and its permissions.

    Attributes:
        name: identifies the caller in metrics, logs and fair sharing.
        sha256: hashes of its accepted tokens, in hexadecimal digits; several during a change of tokens.
        models: names of the models that it may use; None means all.
        modalities: the modalities that it may use; None means all.
        inputs_in_flight: the limit on its concurrent inputs; None means no limit.
        inputs_per_minute: the limit on its inputs in a minute; None means no limit.
        upstream_ids: whether it may use any asset and task of the server's account by its identifier.
    """

    name: str
    sha256: tuple[str, ...] = dataclasses.field(repr=False)
    models: tuple[str, ...] | None = None
    modalities: tuple[Modality, ...] | None = None
    inputs_in_flight: int | None = None
    inputs_per_minute: int | None = None
    upstream_ids: bool = False

    @property
    def quota(self) -> Quota:
        """The quota of the caller."""
        return Quota(self.name, self.inputs_in_flight, self.inputs_per_minute)

    def divided(self, share: Callable[[int], int]) -> "Token":
        """Return a copy with a share of its limits."""
        in_flight, per_minute = self.inputs_in_flight, self.inputs_per_minute
        return dataclasses.replace(
            self, inputs_in_flight=in_flight and share(in_flight), inputs_per_minute=per_minute and share(per_minute)
        )

    def sees(self, model: Model) -> bool:
        """Return whether it may use this model."""
        return self.models is None or model.name in self.models

    def check(self, request: EmbedRequest, own_tasks: OwnTasks) -> None:
        """Check that a request is permitted.

        Raises:
            PermissionDenied: it is for a model or a modality that is not permitted; the message lists what is.
            IdentifierDenied: it has the identifier of an asset or a task that is not permitted.
        """
        if not self.sees(request.model):
            raise PermissionDenied(self.name, "model_name", ", ".join(self.models or ()))
        for index, item in enumerate(request.inputs):
            if self.modalities is not None and item.modality not in self.modalities:
                raise PermissionDenied(self.name, request.input_path(index), ", ".join(self.modalities))
        if not self.upstream_ids and request.upstream_key is None:
            self._check_identifiers(request, own_tasks)

    def _check_identifiers(self, request: EmbedRequest, own_tasks: OwnTasks) -> None:
        """Check that a request for the server's account has no identifiers but those of the token's own tasks."""
        for index, item in enumerate(request.inputs):
            kind, value = upstream_id_of(item)
            if kind and not (kind == "task" and own_tasks.has(self.name, value)):
                raise IdentifierDenied(self.name, f"{request.input_path(index)}.source.{kind}", kind)


class HasTokens(Protocol):
    """Settings with tokens."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All configured tokens."""
        ...


class Authenticator:
    """Authenticates callers by bearer token. Without tokens, every caller is accepted, and none has a name.

    Args:
        tokens: the accepted tokens.

    Raises:
        ValueError: a name or a hash is invalid or a duplicate, or a limit is below 1.
    """

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._owners: list[tuple[bytes, Token]] = []
        self.replace(tokens)

    def reconfigure(self, settings: HasTokens) -> None:
        """Use the tokens of these settings from the next call on; see `replace`."""
        self.replace(settings.tokens)

    def replace(self, tokens: Iterable[Token]) -> None:
        """Accept these tokens instead, from the next call on.

        Raises:
            ValueError: as for the constructor; the accepted tokens are unchanged then.
        """
        tokens = tuple(tokens)
        for token in tokens:
            _check(token)
        _check_unique("name", [token.name for token in tokens])
        _check_unique("hash", [digest for token in tokens for digest in token.sha256])
        self._owners = [(bytes.fromhex(digest), token) for token in tokens for digest in token.sha256]

    def authenticate(self, authorization: str | bytes | None) -> Token | None:
        """Return the token of a call, from its metadata key `authorization`; None if no tokens are configured.

        The duration does not depend on which token matches, or whether one does.

        Raises:
            Unauthenticated: there is no token, or it is not accepted.
        """
        if not self._owners:
            return None
        match = _BEARER.fullmatch(authorization) if isinstance(authorization, str) else None
        if match is None:
            raise Unauthenticated("no bearer token: send the metadata authorization: Bearer TOKEN")
        shown = hashlib.sha256(match[1].encode()).digest()
        found = [token for digest, token in self._owners if hmac.compare_digest(digest, shown)]
        if not found:
            raise Unauthenticated("this server does not accept the bearer token")
        return found[0]


def new_token() -> tuple[str, str]:
    """Generate a token of 256 random bits, for its owner, and its hash, for the configuration file."""
    token = f"ew_{secrets.token_urlsafe(_TOKEN_BYTES)}"
    return token, hashlib.sha256(token.encode()).hexdigest()


def _check(token: Token) -> None:
    if not _NAME.fullmatch(token.name):
        raise ValueError("a name must have 1 to 64 letters, digits, dots, dashes or underscores")
    if not token.sha256 or not all(_SHA256.fullmatch(digest) for digest in token.sha256):
        raise ValueError(f"{token.name}: sha256 must be 64 lower-case hexadecimal digits; see embedwire-server token")
    if any(limit is not None and limit < 1 for limit in (token.inputs_in_flight, token.inputs_per_minute)):
        raise ValueError(f"{token.name}: limits must be at least 1")


def _check_unique(what: str, values: list[str]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"two tokens have the same {what}")
