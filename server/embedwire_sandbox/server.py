"""HTTP server of the sandbox: routes, headers of every response, start and stop."""

import secrets
from collections import deque
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from embedwire_sandbox.assets.asset import Asset
from embedwire_sandbox.assets.upload import ChunkedUpload
from embedwire_sandbox.calls import EMBEDDING_OPERATIONS, RECORDED_REQUEST, Journal, Operation, RecordedRequest
from embedwire_sandbox.errors import RefusalError, not_found
from embedwire_sandbox.faults.api import FaultControl
from embedwire_sandbox.faults.injection import ReplacedReplyError
from embedwire_sandbox.faults.script import FaultScript
from embedwire_sandbox.gate import Gate
from embedwire_sandbox.media.fetch import Fetcher
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.quota import Quota
from embedwire_sandbox.routes import Resources, operation_of, v1_routes, v2_routes
from embedwire_sandbox.v2.task import Task

BASE_PATH: Final = "/v1.3"

_HEADERS: Final = {"X-Api-Version": "v1.3", "Embedwire-Upstream": "sandbox"}
_SHUTDOWN_SEC: Final = 0.2


class Sandbox:
    """Mock of the upstream: both dialects of the Embed API, over HTTP, with vectors that are not Marengo's.

    Use it as an async context manager, or call `start` and `stop`. It can be started again after a stop; rate limit
    counters are then reset.

    Args:
        options: The options.

    Attributes:
        faults: The pending faults.
        calls: Journal of the calls, and their numbers by operation.
        resources: The assets, tasks and uploads.
    """

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.faults = FaultScript()
        self.calls = Journal()
        self._options = options or SandboxOptions()
        self.resources = Resources(self._options)
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
    def journal(self) -> deque[RecordedRequest]:
        """The last calls, oldest first."""
        return self.calls.entries

    @property
    def requests(self) -> int:
        """Number of embedding calls since the sandbox was created, failed ones and creations of tasks included."""
        return sum(self.calls.counts[operation] for operation in EMBEDDING_OPERATIONS)

    @property
    def operations(self) -> Mapping[Operation, int]:
        """Number of calls of each operation since the sandbox was created, failed ones included."""
        return self.calls.counts

    @property
    def assets(self) -> list[Asset]:
        """The assets that exist, of all keys, oldest first."""
        return self.resources.assets.live

    @property
    def tasks(self) -> list[Task]:
        """The tasks that are not forgotten, of all keys, oldest first."""
        return self.resources.tasks.live

    @property
    def uploads(self) -> list[ChunkedUpload]:
        """The uploads in chunks that are not complete, of all keys, oldest first."""
        return self.resources.uploads.incomplete

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
        self._quota = Quota(options.requests_per_minute, options.quota_window_sec)
        self._gate = Gate(options, self.faults, self._quota)
        fetcher = await stack.enter_async_context(
            Fetcher(any_url=options.any_url, timeout_sec=options.fetch_timeout_sec, max_bytes=options.max_file_bytes)
        )
        application = web.Application(middlewares=[self._answer])
        if not options.disable_v1:
            application.add_routes(v1_routes(BASE_PATH, options, self._gate, fetcher, stack))
        if not options.disable_v2:
            application.add_routes(v2_routes(BASE_PATH, options, self._gate, fetcher, self.resources, stack))
        if options.fault_control:
            application.add_routes(FaultControl(self.faults, self.calls, self.resources.to_json).routes())
        application.on_response_prepare.append(self._add_headers)
        return application

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record the call in the journal, and turn exceptions into error responses."""
        recorded = request[RECORDED_REQUEST] = RecordedRequest(
            operation=operation_of(request),
            method=request.method,
            resource_id=request.match_info.get("id"),
            content_length=request.content_length,
        )
        self.calls.add(recorded)
        try:
            if recorded.operation is not None:
                await self._gate.before_body(request)
            response = await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            response = self._error_response(recorded, not_found())
        except RefusalError as refusal:
            response = self._error_response(recorded, refusal)
        except ReplacedReplyError as replaced:
            response = replaced.response
        except ConnectionError:  # scripted, or the client has disconnected
            return web.StreamResponse()
        recorded.status = response.status
        return response

    def _error_response(self, recorded: RecordedRequest, refusal: RefusalError) -> web.Response:
        nested = self._options.nested_errors and recorded.operation not in (None, "embed")
        response = web.Response(status=refusal.status, body=refusal.body(nested=nested), headers=refusal.headers)
        if not refusal.empty:
            response.content_type = "application/json"
        return response

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        added = {**_HEADERS, "X-Trace-Id": secrets.token_hex(16)}
        recorded = request.get(RECORDED_REQUEST, RecordedRequest())
        if recorded.operation in (None, "embed"):
            added |= self._quota.headers(recorded.modalities)
        elif recorded.categories:
            added |= {**self._quota.headers(recorded.categories), **self._quota.dimensions(recorded.categories)}
        for name, value in added.items():
            response.headers.setdefault(name, value)
