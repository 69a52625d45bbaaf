"""What settings that are right by themselves do not allow together."""

import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from embedwire_server.auth.tokens import Authenticator
from embedwire_server.core.address import LAST_PORT, Address, is_path
from embedwire_server.core.models import BUILT_IN

if TYPE_CHECKING:
    from embedwire_server.config.settings import Settings

TWELVELABS_URL = "https://api.twelvelabs.io/v1.3"

Fault = tuple[tuple[str, ...], str]

_NO_SANDBOX = (
    "beyond loopback the sandbox is no default, so that its vectors end up in no real index: "
    "set TWELVELABS_API_KEY, or --upstream (a URL, or 'sandbox' on purpose)"
)
_OPEN_TO_ALL = (
    "beyond loopback any client that reaches it could use it, and read along: set --tls-certificate and --tls-key, "
    "and tokens in the configuration file; or --insecure if something else sees to that"
)
OPENED = "there is none any more, which would accept every caller: that needs a restart"


class SettingsConflict(ValueError):
    """Settings that are right by themselves and wrong together.

    Attributes:
        faults: for each, the settings that it is about, the one to change first, and the words.
    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{names[0]}: {words}" for names, words in faults))
        self.faults = faults


def of(settings: "Settings") -> Iterator[Fault]:
    """What does not go together: the names of the settings, the one to change first, and the words."""
    for name, build in (("models", lambda: settings.model_table), ("tokens", lambda: Authenticator(settings.tokens))):
        try:
            build()
        except ValueError as error:
            yield (name,), str(error)
    if settings.upstream is None and settings.api_key is None and not settings.listen_address.is_loopback:
        yield ("listen", "upstream", "api_key"), _NO_SANDBOX
    if settings.upstream_url == TWELVELABS_URL and settings.api_key is None:
        yield ("upstream", "api_key"), "the TwelveLabs API needs a key: set TWELVELABS_API_KEY"
    yield from _of_models(settings)
    yield from _of_places(settings)
    yield from _of_access(settings)
    yield from _of_workers(settings)


def _of_models(settings: "Settings") -> Iterator[Fault]:
    for model in settings.models:
        if not is_path(model.endpoint):
            yield ("models",), f"{model.name!r}: endpoint must be a path such as /embed, without ?, #, % and .. in it"
        for name in (model.name, *model.aliases):
            if not name.isprintable() or name != name.strip():
                yield ("models",), f"{name!r}: a name must be printable, without white space around it"


def _of_places(settings: "Settings") -> Iterator[Fault]:
    taken: dict[str, str] = {}
    for name in ("listen", "metrics_listen", "health_listen"):
        address = getattr(settings, name)
        if address is not None and Address(address).port and taken.setdefault(address, name) != name:
            yield (name, taken[address]), f"must be another address than {taken[address].replace('_', '-')}"
    if settings.spool_dir is not None:
        try:
            tempfile.TemporaryFile(dir=settings.spool_dir).close()
        except OSError as error:
            yield ("spool_dir",), f"files cannot be written there: {error.strerror}"


def _of_access(settings: "Settings") -> Iterator[Fault]:
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        yield ("tls_certificate", "tls_key"), "TLS needs both --tls-certificate and --tls-key"
    elif settings.tls_client_ca is not None and settings.certificate_files is None:
        yield ("tls_client_ca", "tls_certificate"), "needs --tls-certificate and --tls-key as well"
    elif settings.certificate_files is not None:
        try:
            settings.certificate_files.read()
        except ValueError as error:
            yield ("tls_certificate", "tls_key", "tls_client_ca"), str(error)
    is_plain = settings.tls_certificate is None and not settings.tokens
    if is_plain and not settings.listen_address.is_loopback and not settings.insecure:
        yield ("listen", "tokens", "tls_certificate", "tls_key"), _OPEN_TO_ALL
    table = {model.name for model in (*BUILT_IN, *settings.models)}
    for token in settings.tokens:
        if unknown := set(token.models or ()) - table:
            yield ("tokens", "models"), f"{token.name}: no models of these names: {', '.join(sorted(unknown))}"


def _of_workers(settings: "Settings") -> Iterator[Fault]:
    for name, amount in settings.divided.items():
        if name != "inputs_queued" and amount < settings.workers:
            yield ("workers", name), f"must be at most {amount}: {name.replace('_', '-')} is divided among them"
    for token in settings.tokens:
        if settings.workers > min(
            token.inputs_in_flight or settings.workers, token.inputs_per_minute or settings.workers
        ):
            yield ("workers", "tokens"), f"the limits of {token.name} are divided among them, and are lower"
    if settings.max_content_bytes // settings.workers < settings.max_message_bytes:
        yield (
            ("max_content_bytes", "max_message_bytes", "workers"),
            "must be at least max-message-bytes for each worker, or some calls could never be taken on",
        )
    if settings.metrics_address.port and settings.metrics_address.port + settings.workers - 1 > LAST_PORT:
        yield ("metrics_listen", "workers"), "every worker needs a port of its own, and these go beyond 65535"
