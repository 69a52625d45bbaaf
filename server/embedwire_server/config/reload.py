"""Reads the configuration again at run time, after SIGHUP or a change of the file, and applies what can be changed."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from embedwire_server.config import validation
from embedwire_server.config.settings import ALL, RELOADABLE, Settings, changed
from embedwire_server.config.sources import Configuration

_OPENED = "tokens: there is none any more, which would accept every caller: that needs a restart"

log = structlog.get_logger(__name__)


class Reconfigurable(Protocol):
    """A component that can change its settings while the server runs."""

    def reconfigure(self, settings: Settings) -> None:
        """Use these settings from the next call on."""
        ...


class Reloads(Protocol):
    """A server, of one process or of several."""

    def reload(self, settings: Settings | None) -> None:
        """Use these settings; None if there are new ones which cannot be used."""
        ...


def merge_reloadable(current: Settings, other: Settings) -> tuple[Settings, list[str]]:
    """Return the current settings with what of the others can be changed at run time, and the keys of what cannot.

    Raises:
        ValueError: they do not go together; or there were tokens and are none, since a file that is cut short must not
            open the server.
    """
    if current.tokens and not other.tokens:
        raise ValueError(_OPENED)
    fixed = [one.key for one in ALL.values() if one not in RELOADABLE and one.of(current) != one.of(other)]
    merged = changed(current, {one.name: one.of(other) for one in RELOADABLE})
    return validation.check(merged), fixed


class Reloading:
    """Reads the configuration again whenever it is awaited. All of it is in force then, or nothing of it.

    Args:
        server: gets the new settings.
        settings: those in force.
        load: reads the configuration; in a thread, since it reads files.
    """

    def __init__(self, server: Reloads, settings: Settings, load: Callable[[], Configuration]) -> None:
        self._server = server
        self._settings = settings
        self._load = load

    async def __call__(self) -> None:
        """Read it; a broken one is logged, and the old one stays in force."""
        try:
            loaded = await asyncio.to_thread(self._load)
            self._settings, fixed = merge_reloadable(self._settings, loaded.settings)
        except (ValueError, OSError) as error:  # OSError: a file has vanished while it was checked
            log.error("the new configuration is refused, the old one stays in force", faults=str(error))  # noqa: TRY400 - the text says all
            self._server.reload(None)
            return
        self._server.reload(self._settings)
        log.info("the configuration was reloaded", tokens=len(self._settings.tokens))
        if fixed:
            log.warning("these settings have changed, and need a restart", settings=", ".join(fixed))
