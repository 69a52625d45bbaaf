"""What a server logs at its start: its addresses, and warnings of an insecure configuration."""

import structlog

from embedwire_server.config.settings import Settings

log = structlog.get_logger(__name__)


def facts(settings: Settings, metrics_url: str, health_target: str) -> dict[str, object]:
    """Return the attributes of the log line about the start; empty addresses are left out."""
    found: dict[str, object] = {"upstream": settings.upstream.name}
    if metrics_url:
        found["metrics"] = metrics_url
    if (proxy := settings.upstream.used_proxy) is not None:
        found["proxy"] = proxy.address
    if health_target:
        found["health"] = health_target
    return found | {"tls": settings.tls.files is not None, "tokens": len(settings.tokens)}


def warn(settings: Settings) -> None:
    """Warn of an insecure configuration, unless `allow_insecure` is set."""
    if settings.server.address.is_loopback or settings.server.allow_insecure:
        return
    if settings.tls.files is None:
        log.warning("tokens and content are sent unencrypted: set --tls-certificate and --tls-key")
    elif settings.tls.client_ca is None and not settings.tokens:
        log.warning("any client that can connect may use this server: set tokens, or --tls-client-ca")
