"""The settings of one worker: its share of what holds for all workers together, and ports of its own."""

from embedwire_server.config.settings import SHARED, Settings, changed


def shared(settings: Settings) -> dict[str, int]:
    """Return what is divided among the workers, as far as it is configured, by the names of flags."""
    return {setting.name: amount for setting in SHARED if (amount := setting.of(settings)) is not None}


def worker_share(settings: Settings, index: int) -> Settings:
    """Return the settings of worker `index`, from 0.

    The shares of all workers add up to what is configured, and differ by one at most.
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
