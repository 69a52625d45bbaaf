"""Debian's Chromium without windows, which can be as narrow as a phone: screenshots, and measurements of a page."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

from tests.support.http import Answer, ask
from tests.support.upstreams import ScriptedHttpServer, Visit

# Chromium itself must make no request either.
_FLAGS = (
    "--no-sandbox",  # it does not run as root otherwise
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",  # /dev/shm of a container is small
    "--force-device-scale-factor=1",
)
_MEASURE = (
    b"<script>const e=document.documentElement;"
    b"const wide=[...document.querySelectorAll('.scroll')].filter(t=>t.scrollWidth>t.clientWidth);"
    b"e.dataset.wide=wide.map(t=>t.querySelector('caption').textContent).join(',');"
    b"e.dataset.measured=[innerWidth,e.scrollWidth,e.scrollHeight].join(',')</script>"
)


class Size(NamedTuple):
    """Sizes in CSS pixels: of the window, and of the page with what overflows it."""

    window: int
    width: int
    height: int


class Measured(NamedTuple):
    """A page as Chromium has rendered it without a content security policy.

    Attributes:
        size: its size.
        wide_tables: captions of tables that need a scroll bar.
        dom: its final DOM as HTML.
        paths: the requests that it has caused.
    """

    size: Size
    wide_tables: str
    dom: str
    paths: list[str]


class Chromium:
    """Runs Chromium; each run is a new process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def screenshot(self, url: str, file: Path, width: int, height: int, *, is_dark: bool = False) -> None:
        colors = [f"--blink-settings=preferredColorScheme={0 if is_dark else 1}"]
        await self._run(f"--screenshot={file}", f"--window-size={width},{height}", *colors, url)

    async def measure(self, page: Answer, width: int) -> Measured:
        """Render the HTML of a page as a copy with a script that measures it, and without its headers."""
        async with _serving_copy(page.body) as server:
            dom = await self._run("--dump-dom", f"--window-size={width},1000", server.base_url + "/")
            found = re.search(r'data-measured="(\d+),(\d+),(\d+)"', dom)
            assert found is not None, dom
            size = Size(*map(int, found.groups()))
            wide = re.search(r'data-wide="([^"]*)"', dom)
            assert wide is not None
            return Measured(size, wide[1], dom, [visit.path for visit in server.visits])

    async def _run(self, *arguments: str) -> str:
        profile = self._directory / "profile"
        command = ["chromium-headless-shell", *_FLAGS, f"--user-data-dir={profile}", *arguments]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        out, _ = await asyncio.wait_for(process.communicate(), 90)
        assert process.returncode == 0
        return out.decode()


@contextlib.asynccontextmanager
async def _serving_copy(html: bytes) -> AsyncGenerator[ScriptedHttpServer]:
    measuring = html.replace(b"</body>", _MEASURE + b"</body>")

    async def script(visit: Visit) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(measuring)}\r\n\r\n"
        await visit.send(head.encode() + measuring)

    async with ScriptedHttpServer(script).running() as server:
        yield server


async def page_at(port: int) -> Answer:
    """The status page without the refresh."""
    return await asyncio.to_thread(ask, port, "GET", "/?refresh=off")
