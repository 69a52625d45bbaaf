"""HTTP server of the sandbox: routes, headers of every response, start and stop."""

from collections import deque
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from embedwire_sandbox.errors import RefusalError, not_found
from embedwire_sandbox.fault_api import FaultControl
from embedwire_sandbox.fault_script import FaultScript
from embedwire_sandbox.media.fetch import Fetcher
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.quota import Quota
from embedwire_sandbox.v1.embedder import Embedder
from embedwire_sandbox.v1.endpoint import RECORDED_REQUEST, EmbedEndpoint, RecordedRequest

BASE_PATH: Final = "/v1.3"

_HEADERS: Final = {"X-Api-Version": "v1.3", "Embedwire-Upstream": "sandbox"}
_SHUTDOWN_SEC: Final = 0.2
_JOURNAL_LENGTH: Final = 1_000


class Sandbox:
    """Mock of the upstream: the v1 dialect of the Embed API, over HTTP, with vectors that are not Marengo's.

    Use it as an async context manager, or call `start` and `stop`. It can be started again after a stop; rate limit
    counters are then reset.

    Args:
        options: The options.

    Attributes:
        faults: The pending faults.
        journal: The last calls of `/embed`, oldest first.
        requests: Number of calls of `/embed` since the sandbox was created, failed ones included.
    """

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.faults = FaultScript()
        self.journal: deque[RecordedRequest] = deque(maxlen=_JOURNAL_LENGTH)
        self.requests = 0
        self._options = options or SandboxOptions()
        self._stack: AsyncExitStack | None = None
        self._address: tuple[str, int] | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen and accept calls.

        Args:
            host: The address to listen on.
            port: The port; 0 takes any free one.

        Raises:
            RuntimeError: It is already running.
            OSError: Listening on the address failed.
        """
        if self._stack is not None:
            raise RuntimeError("the sandbox is already running")
        async with AsyncExitStack() as stack:
            runner = web.AppRunner(
                await self._application(stack),
                access_log=None,
                handle_signals=False,
                handler_cancellation=True,  # a call is cancelled when its client disconnects
                shutdown_timeout=_SHUTDOWN_SEC,
            )
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, host, port).start()
            self._address = (runner.addresses[0][0], runner.addresses[0][1])
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Stop listening and end the calls that are still running after `_SHUTDOWN_SEC`. Idempotent."""
        stack, self._stack, self._address = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        """The base URL for a client, such as `http://127.0.0.1:8080/v1.3`.

        Raises:
            RuntimeError: It is not running.
        """
        if self._address is None:
            raise RuntimeError("the sandbox is not running")
        host, port = self._address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{BASE_PATH}"

    async def _application(self, stack: AsyncExitStack) -> web.Application:
        options = self._options
        fetcher = await stack.enter_async_context(
            Fetcher(any_url=options.any_url, timeout_sec=options.fetch_timeout_sec, max_bytes=options.max_file_bytes)
        )
        self._quota = Quota(options.requests_per_minute, options.quota_window_sec)
        embedder = Embedder(options, fetcher)
        stack.callback(embedder.close)
        endpoint = EmbedEndpoint(options, self.faults, self._quota, embedder)
        application = web.Application(middlewares=[self._answer])
        application.router.add_post(f"{BASE_PATH}/embed", endpoint.handle)
        if options.fault_control:
            application.add_routes(FaultControl(self.faults, lambda: self.requests).routes())
        application.on_response_prepare.append(self._add_headers)
        return application

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record the call in the journal, and turn exceptions into error responses."""
        recorded = request[RECORDED_REQUEST] = RecordedRequest(content_length=request.content_length)
        if request.path == f"{BASE_PATH}/embed":
            self.requests += 1
            self.journal.append(recorded)
        try:
            response = await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            response = _error_response(not_found())
        except RefusalError as refusal:
            response = _error_response(refusal)
        except ConnectionError:  # scripted, or the client has disconnected
            return web.StreamResponse()
        recorded.status = response.status
        return response

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        modalities = request[RECORDED_REQUEST].modalities if RECORDED_REQUEST in request else ()
        for name, value in {**_HEADERS, **self._quota.headers(modalities)}.items():
            response.headers.setdefault(name, value)


def _error_response(refusal: RefusalError) -> web.Response:
    response = web.Response(status=refusal.status, body=refusal.body, headers=refusal.headers)
    if not refusal.empty:
        response.content_type = "application/json"
    return response
