"""What SIGHUP does: the configuration is read again, and what can be changed at run time is."""

from collections.abc import Callable
from typing import Protocol

import structlog

from embedwire_server.config.settings import Settings
from embedwire_server.config.sources import Configuration

log = structlog.get_logger(__name__)


class Reloads(Protocol):
    """A server, of one process or of several."""

    def reload(self, settings: Settings | None) -> None:
        """Go by these settings; None if there are new ones which cannot be used."""
        ...


class Reloading:
    """Reads the configuration again whenever it is called. All of it is in force then, or nothing of it.

    Args:
        server: gets the new settings.
        settings: what it goes by now.
        load: reads the configuration.
    """

    def __init__(self, server: Reloads, settings: Settings, load: Callable[[], Configuration]) -> None:
        self._server = server
        self._settings = settings
        self._load = load

    def __call__(self) -> None:
        """Read it; a broken one is logged, and the old one stays in force."""
        try:
            self._settings, fixed = self._settings.renewed(self._load().settings)
        except ValueError as error:  # of pydantic's as well
            log.error("the new configuration is refused, the old one stays in force", faults=str(error))  # noqa: TRY400 - the text says all
            self._server.reload(None)
            return
        self._server.reload(self._settings)
        log.info("the configuration was reloaded", tokens=len(self._settings.tokens))
        if fixed:
            log.warning("these settings have changed, and need a restart", settings=", ".join(fixed))
