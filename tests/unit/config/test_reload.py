"""The reload of the configuration, without a server."""

import asyncio
import threading

from embedwire_server.config.reload import Reloading
from embedwire_server.config.settings import Settings
from embedwire_server.config.sources import Configuration


class Server:
    """Receives the settings of each reload."""

    def __init__(self) -> None:
        self.reloads: list[Settings | None] = []

    def reload(self, settings: Settings | None) -> None:
        self.reloads.append(settings)


def test_a_reload_that_hangs_does_not_delay_the_exit() -> None:
    """A file on a network file system may block for ever; the event loop ends all the same."""
    begun = threading.Event()

    def load() -> Configuration:
        begun.set()
        threading.Event().wait()
        raise AssertionError

    async def serve() -> None:
        reload = asyncio.ensure_future(Reloading(Server(), Settings(), load)())
        await asyncio.to_thread(begun.wait)
        reload.cancel()

    asyncio.run(serve())


async def test_a_file_that_vanishes_while_it_is_read_changes_nothing() -> None:
    """An OSError is a failed reload."""
    server = Server()

    def load() -> Configuration:
        raise FileNotFoundError

    await Reloading(server, Settings(), load)()
    assert server.reloads == [None]
