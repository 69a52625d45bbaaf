"""URL of a Redis server, with its credentials masked in every text form."""

import re
import urllib.parse
from typing import Any

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import core_schema

_FORMS = "redis://USER:PASSWORD@HOST:6379/0, rediss://... for TLS, or unix:///PATH?db=0; all but HOST and PATH optional"
_RESERVED = "percent-encode / ? # @ and : in the user and the password"
_DEFAULT_PORT = 6379
_DATABASE = re.compile(r"[0-9]{1,5}")


class RedisUrl(SecretStr):
    """URL of a Redis server. `str` and `repr` mask the user and the password.

    Attributes:
        is_tls: whether the connection is encrypted, and the certificate of the server verified.
        path: path of a Unix socket; empty for TCP.
        host: host name or IP address, without brackets; empty for a Unix socket.
        port: port of the server.
        database: number of the database.
        username: name of an ACL user; None uses the default user.
        password: password; None without one.

    Raises:
        ValueError: it is not valid. The message does not quote it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        parts = _split(text)
        _check(text, parts)
        is_unix = parts.scheme == "unix"
        self.is_tls = parts.scheme == "rediss"
        self.path = urllib.parse.unquote(parts.path) if is_unix else ""
        self.host = "" if is_unix else urllib.parse.unquote(parts.hostname or "")
        self.port = parts.port or _DEFAULT_PORT
        number = parts.query.removeprefix("db=") if is_unix else parts.path.strip("/")
        if number and not _DATABASE.fullmatch(number):
            raise ValueError(f"must end in the number of the database, such as /0, or in nothing; {_RESERVED}")
        self.database = int(number or 0)
        self.username = urllib.parse.unquote(parts.username or "") or None
        self.password = urllib.parse.unquote(parts.password or "") or None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:  # noqa: ANN401
        """Return the schema of a setting of this type: a secret, with the errors of this class."""
        return core_schema.no_info_after_validator_function(_of_secret, handler.generate_schema(SecretStr))

    def _display(self) -> str:
        """Return the text with masked credentials; called by `str` and `repr` of the base class."""
        scheme, _, rest = self.get_secret_value().partition("://")
        credentials, at, place = rest.rpartition("@")
        return f"{scheme}://{'***' if credentials else ''}{at}{place}"


def _of_secret(secret: SecretStr) -> RedisUrl:
    return RedisUrl(secret.get_secret_value())


def _split(text: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(text)
    except ValueError:
        raise ValueError(f"must be a URL of Redis: {_FORMS}; {_RESERVED}") from None  # the original quotes the password


def _check(text: str, parts: urllib.parse.SplitResult) -> None:
    is_unix = parts.scheme == "unix"
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError(f"must be a URL of Redis: {_FORMS}")
    if "#" in text:
        raise ValueError(f"must not have a fragment (#); {_RESERVED}")
    if "?" in text and not (is_unix and parts.query.startswith("db=")):
        raise ValueError(f"must not have a query (?), except ?db=NUMBER of a Unix socket; {_RESERVED}")
    try:
        is_port = parts.port != 0
    except ValueError:  # no number, or above 65535
        is_port = False
    if not is_port:
        raise ValueError(f"must have a port from 1 to 65535, or none; {_RESERVED}")
    if is_unix and (parts.hostname or not parts.path.strip("/")):
        raise ValueError(f"must have an absolute path: {_FORMS}")
    if not is_unix and not parts.hostname:
        raise ValueError(f"must have a host: {_FORMS}; {_RESERVED}")
