"""Configuration reload at run time, after SIGHUP or a change of the file."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from embedwire_server.config import validation
from embedwire_server.config.setting_table import ALL, RELOADABLE, changed
from embedwire_server.config.settings import Settings
from embedwire_server.config.sources import Configuration

_OPENED = "tokens: all tokens were removed, which would accept any client; this needs a restart"

log = structlog.get_logger(__name__)


class Reconfigurable(Protocol):
    """Interface of a component that can change its settings while the server runs."""

    def reconfigure(self, settings: Settings) -> None:
        """Apply these settings from the next call on."""
        ...


class Reloads(Protocol):
    """Interface of a server, of one process or of several."""

    def reload(self, settings: Settings | None) -> None:
        """Apply these settings; None if the new ones are invalid."""
        ...


def merge_reloadable(current: Settings, other: Settings) -> tuple[Settings, list[str]]:
    """Merge the reloadable settings of `other` into the current ones; return them, and the keys of other changes.

    Raises:
        ValueError: the settings conflict; or all tokens were removed, since a truncated file must not open the server
            to every caller.
    """
    if current.tokens and not other.tokens:
        raise ValueError(_OPENED)
    fixed = [one.key for one in ALL.values() if one not in RELOADABLE and one.of(current) != one.of(other)]
    merged = changed(current, {one.name: one.of(other) for one in RELOADABLE})
    return validation.check(merged), fixed


class Reloading:
    """Reloads the configuration each time it is called; all of it is applied, or nothing.

    Args:
        server: receives the new settings.
        settings: the settings in force.
        load: reads the configuration; runs in a thread, since it reads files.
    """

    def __init__(self, server: Reloads, settings: Settings, load: Callable[[], Configuration]) -> None:
        self._server = server
        self._settings = settings
        self._load = load

    async def __call__(self) -> None:
        """Reload the configuration; if it is invalid, log it and keep the old one."""
        try:
            loaded = await _in_daemon_thread(self._load)
            self._settings, fixed = merge_reloadable(self._settings, loaded.settings)
        except (ValueError, OSError) as error:  # OSError: a file was removed while it was checked
            log.error("the new configuration is invalid, the old one stays in use", faults=str(error))  # noqa: TRY400 - the text says all
            self._server.reload(None)
            return
        self._server.reload(self._settings)
        log.info("the configuration was reloaded", tokens=len(self._settings.tokens))
        if fixed:
            log.warning("changed settings need a restart", settings=", ".join(fixed))


async def _in_daemon_thread(load: Callable[[], Configuration]) -> Configuration:
    """Call it in a thread that does not delay the exit of the process, unlike those of the event loop's executor."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Configuration] = loop.create_future()

    def finish(result: Configuration | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if result is not None:
            done.set_result(result)
        elif error is not None:
            done.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = load()
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(finish, result, failure)

    threading.Thread(target=run, name="config-reload", daemon=True).start()
    return await done
