"""The status page: HTML without scripts and without anything to load, made from a template that escapes all values."""

import asyncio
import base64
import hashlib
import importlib.resources
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from embedwire_server.observability.heartbeat import Heartbeat
from embedwire_server.observability.readiness import Readiness
from embedwire_server.observability.recent_calls import MINUTES
from embedwire_server.observability.status import Status

if TYPE_CHECKING:
    from jinja2 import Template

REFRESH_SECONDS = 10
ANSWER_SECONDS = 0.5  # for the main event loop; the page shows an older status if it does not answer
MIN_AGE_SECONDS = 1.0  # a page of this age is made again


class StatusPage:
    """Renders the page in the thread of the HTTP server.

    The main event loop makes the status, since only it may read its objects. However many clients ask, it does so once
    a second at most.

    Args:
        take: returns the status; called in the main event loop.
        readiness: the checks of readiness.
        heartbeat: the heartbeat of the main event loop.
        loop: the main event loop.
    """

    def __init__(
        self, take: Callable[[], Status], readiness: Readiness, heartbeat: Heartbeat, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._take = take
        self._readiness = readiness
        self._heartbeat = heartbeat
        self._loop = loop
        self._taking: asyncio.Future[Status] | None = None
        self._status: Status | None = None
        self._template: Template | None = None
        self._headers: dict[str, str] = {}
        self._pages: dict[bool, tuple[float, str]] = {}  # by whether it refreshes: when it was made, and its HTML

    async def response(self, request: Request) -> Response:
        """Return the page; with the query `refresh=off` it does not load itself again."""
        refreshes = request.query_params.get("refresh") != "off"
        made, html = self._pages.get(refreshes, (0.0, ""))
        if not html or time.monotonic() - made > MIN_AGE_SECONDS:
            await self._update()
            html = self._render(refreshes=refreshes)
            self._pages[refreshes] = time.monotonic(), html
        return HTMLResponse(html, headers=self._headers)

    async def _update(self) -> None:
        """Get the status from the main event loop, unless that is too busy."""
        if self._taking is None or self._taking.done():
            self._taking = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._taken(), self._loop))
        await asyncio.wait([self._taking], timeout=ANSWER_SECONDS)
        if self._taking.done():
            self._status = self._taking.result()

    async def _taken(self) -> Status:
        return self._take()

    def _render(self, *, refreshes: bool) -> str:
        if self._template is None:
            self._template, self._headers = _loaded()
        return self._template.render(
            status=self._status,
            checks=self._readiness.results(),
            notes=self._readiness.notes,
            is_ready=self._readiness.is_ready,
            is_draining=self._readiness.is_draining,
            silence=self._heartbeat.silence,
            minutes=MINUTES,
            now=time.time(),
            refresh_seconds=REFRESH_SECONDS if refreshes else None,
        )


def _loaded() -> tuple["Template", dict[str, str]]:
    """Load the template, and make the headers. Jinja2 is imported here: it costs nothing before the first request."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415
    from markupsafe import Markup  # noqa: PLC0415

    files = importlib.resources.files(__package__)
    style = files.joinpath("status.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"duration": duration, "amount": amount, "clock": _clock, "moment": _moment}
    environment.globals["style"] = Markup(style)  # noqa: S704 - a file of this package
    template = environment.from_string(files.joinpath("status.html").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return template, _headers(f"'sha256-{digest}'")


def _headers(style: str) -> dict[str, str]:
    policy = f"default-src 'none'; style-src {style}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def duration(seconds: float) -> str:
    """Return seconds as a short text, with two units at most: 0.25 s, 42 s, 5 min 3 s, 2 h 10 min, 3 d 4 h."""
    if seconds < 10:  # noqa: PLR2004 - digits of a short time
        return f"{seconds:.2f} s"
    whole = round(seconds)
    units = [("d", whole // 86400), ("h", whole // 3600 % 24), ("min", whole // 60 % 60), ("s", whole % 60)]
    while units[0][1] == 0:
        del units[0]
    return " ".join(f"{count} {unit}" for unit, count in units[:2] if count)


def amount(number: float) -> str:
    """Return a number of requests or minutes as text, with one decimal at most."""
    return f"{number:,.1f}".removesuffix(".0")


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(seconds))
