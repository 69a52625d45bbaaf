"""Cross-field validation of settings."""

import tempfile
from collections.abc import Iterator

from embedwire_server.auth.tokens import Authenticator
from embedwire_server.config.per_worker import shared
from embedwire_server.config.setting_table import ALL, RATE_LIMITS
from embedwire_server.config.settings import TWELVELABS_URL, Settings
from embedwire_server.core.address import LAST_PORT, Address, is_path
from embedwire_server.core.models import BUILT_IN

Conflict = tuple[tuple[str, ...], str]

_NO_SANDBOX = (
    "the sandbox is the default on loopback addresses only, so that its vectors end up in no real index: "
    "set TWELVELABS_API_KEY, or --upstream to a URL or 'sandbox'"
)
_OPEN_TO_ALL = (
    "on an address other than loopback, any client could use it, and others could read the traffic: "
    "set --tls-certificate and --tls-key, "
    "and tokens in the configuration file; or --insecure if a proxy or the network handles both"
)
_MAY_BE_ZERO = "concurrency_queue_per_modality"


class SettingsConflict(ValueError):
    """Settings that are valid individually, and conflict with each other."""


def check(settings: Settings) -> Settings:
    """Return the settings if they do not conflict.

    Raises:
        SettingsConflict: they do; lists every conflict.
    """
    if found := [f"{ALL[names[0]].key}: {text}" for names, text in conflicts(settings)]:
        raise SettingsConflict("; ".join(found))
    return settings


def conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield conflicts: the settings by the names of their flags, the one to change first, and a message."""
    for name, build in (("models", lambda: settings.model_table), ("tokens", lambda: Authenticator(settings.tokens))):
        try:
            build()
        except ValueError as error:
            yield (name,), str(error)
    upstream = settings.upstream
    if upstream.url is None and upstream.api_key is None and not settings.server.address.is_loopback:
        yield ("listen", "upstream", "api_key"), _NO_SANDBOX
    if upstream.base_url == TWELVELABS_URL and upstream.api_key is None:
        yield ("upstream", "api_key"), "the TwelveLabs API needs a key: set TWELVELABS_API_KEY"
    yield from _of_models(settings)
    yield from _of_places(settings)
    yield from _of_access(settings)
    yield from _of_workers(settings)
    yield from _of_quota(settings)


def _of_models(settings: Settings) -> Iterator[Conflict]:
    for model in settings.models:
        if not is_path(model.endpoint):
            yield ("models",), f"{model.name!r}: endpoint must be a path such as /embed, without ?, #, % and .. in it"
        for name in (model.name, *model.aliases):
            if not name.isprintable() or name != name.strip():
                yield ("models",), f"{name!r}: a name must be printable, without white space around it"


def _of_places(settings: Settings) -> Iterator[Conflict]:
    taken: dict[str, str] = {}
    for name in ("listen", "metrics_listen", "health_listen"):
        address = ALL[name].of(settings)
        if address is not None and Address(address).port and taken.setdefault(address, name) != name:
            yield (name, taken[address]), f"{ALL[taken[address]].flag} and {ALL[name].flag} must be different addresses"
    if settings.uploads.spool_dir is not None:
        try:
            tempfile.TemporaryFile(dir=settings.uploads.spool_dir).close()
        except OSError as error:
            yield ("uploads_spool_dir",), f"files cannot be written there: {error.strerror}"


def _of_access(settings: Settings) -> Iterator[Conflict]:
    tls = settings.tls
    if (tls.certificate is None) != (tls.key is None):
        yield ("tls_certificate", "tls_key"), "TLS needs both --tls-certificate and --tls-key"
    elif tls.client_ca is not None and tls.files is None:
        yield ("tls_client_ca", "tls_certificate"), "requires --tls-certificate and --tls-key"
    elif tls.files is not None:
        try:
            tls.files.read()
        except ValueError as error:
            yield ("tls_certificate", "tls_key", "tls_client_ca"), str(error)
    is_plain = tls.certificate is None and not settings.tokens
    if is_plain and not settings.server.address.is_loopback and not settings.server.allow_insecure:
        yield ("listen", "tokens", "tls_certificate", "tls_key"), _OPEN_TO_ALL
    table = {model.name for model in (*BUILT_IN, *settings.models)}
    for token in settings.tokens:
        if unknown := set(token.models or ()) - table:
            yield ("tokens", "models"), f"{token.name}: no models of these names: {', '.join(sorted(unknown))}"


def _of_workers(settings: Settings) -> Iterator[Conflict]:
    workers = settings.workers.count
    for name, amount in shared(settings).items():
        if name != _MAY_BE_ZERO and amount < workers:
            yield ("workers", name), f"must be at most {amount}: {ALL[name].key} is divided among the workers"
    for token in settings.tokens:
        if workers > min(token.inputs_in_flight or workers, token.inputs_per_minute or workers):
            yield ("workers", "tokens"), f"the limits of {token.name} are divided among the workers, and are lower"
    buffered, needed = settings.concurrency.max_buffered_bytes, settings.request_limits.message_bytes
    if buffered // workers < needed:
        share = f"concurrency.max_buffered_bytes ({buffered}) divided by --workers ({workers})"
        fault = (
            f"{share} must be at least request_limits.message_bytes ({needed}), or some calls could never be admitted"
        )
        yield ("concurrency_max_buffered_bytes", "request_limits_message_bytes", "workers"), fault
    port = settings.metrics.address.port
    if port and port + workers - 1 > LAST_PORT:
        last = port + workers - 1
        fault = f"each worker needs a metrics port of its own, and {port} to {last} exceed {LAST_PORT}"
        yield ("metrics_listen", "workers"), f"{fault}: lower --workers or the port of --metrics-listen"


def _of_quota(settings: Settings) -> Iterator[Conflict]:
    quota, shares = settings.quota, settings.rate_limit_shares
    for setting in RATE_LIMITS:
        amount = setting.of(settings)
        if amount is not None and amount < shares:
            least = f"must be at least {shares}, the number of workers of all replicas"
            fault = (
                f"{least}: each uses its part of it while it cannot reach the others; raise it, or use fewer workers"
            )
            yield (setting.name, "workers", "quota_replicas"), fault
    if quota.store is not None and quota.replicas is None:
        yield ("quota_replicas", "quota_store"), "set --quota-replicas to the number of replicas"
    if quota.store is None and quota.replicas is not None:
        yield ("quota_store", "quota_replicas"), "needs --quota-store: without it, replicas share nothing"
