"""Settings of one worker: its share of the divided limits, and its own ports."""

from embedwire_server.config.setting_table import SHARED, changed
from embedwire_server.config.settings import Settings


def shared(settings: Settings) -> dict[str, int]:
    """Return the configured limits that are divided among the workers, by the names of flags."""
    return {setting.name: amount for setting in SHARED if (amount := setting.of(settings)) is not None}


def worker_share(settings: Settings, index: int) -> Settings:
    """Return the settings of worker `index`, from 0.

    The shares of all workers add up to the configured limit, and differ by at most one.
    """
    workers = settings.workers.count

    def share(amount: int) -> int:
        return amount // workers + (index < amount % workers)

    address = settings.metrics.address
    own: dict[str, object] = {
        "metrics_listen": address.with_port(address.port and address.port + index),
        "tokens": tuple(token.divided(share) for token in settings.tokens),
    }
    return changed(settings, own | {name: share(amount) for name, amount in shared(settings).items()})
