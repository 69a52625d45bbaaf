"""Steps that all operations share: key, scripted faults, delay, rate limit."""

import asyncio

from aiohttp import web

from embedwire_sandbox.calls import EMBEDDING_OPERATIONS, RECORDED_REQUEST
from embedwire_sandbox.errors import wrong_key
from embedwire_sandbox.faults.injection import InjectedFault
from embedwire_sandbox.faults.script import FaultScript
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.quota import Quota


class Gate:
    """Checks of a call before its handler acts.

    Args:
        options: The options.
        faults: Scripted faults.
        quota: Rate limits.
    """

    def __init__(self, options: SandboxOptions, faults: FaultScript, quota: Quota) -> None:
        self._options = options
        self._faults = faults
        self._quota = quota

    async def before_body(self, request: web.Request) -> None:
        """Check the key, and apply a fault that needs no body.

        Raises:
            RefusalError: The key is wrong.
            ReplacedReplyError: The fault replaces the response.
            HangUpError: The fault has ended the connection.
        """
        recorded = request[RECORDED_REQUEST]
        if recorded.operation != "chunk":  # a presigned URL is its own key
            self._check_key(request)
        await self._fault(request, before_body=True)

    async def after_body(self, request: web.Request) -> InjectedFault:
        """Wait as configured, apply a fault that replaces the response, and count the call against the rate limits.

        The modalities of the call are known, that is recorded.

        Returns:
            The fault, which may change the response.

        Raises:
            RefusalError: 429: the rate limit is reached.
            ReplacedReplyError: The fault replaces the response.
            HangUpError: The fault has ended the connection.
        """
        recorded = request[RECORDED_REQUEST]
        if recorded.operation in EMBEDDING_OPERATIONS:
            await asyncio.sleep(self._options.latency_sec)
        fault = await self._fault(request, before_body=False)
        self._quota.spend(recorded.categories, retry_after=self._options.retry_after, empty=self._options.empty_429)
        return fault

    def _check_key(self, request: web.Request) -> None:
        key = request.headers.get("x-api-key", "")
        if not key or self._options.api_key not in (None, key):
            raise wrong_key()

    async def _fault(self, request: web.Request, *, before_body: bool) -> InjectedFault:
        recorded = request[RECORDED_REQUEST]
        fault = self._faults.take(recorded.operation, recorded.modalities, before_body=before_body)
        recorded.fault = fault.kind if fault else recorded.fault
        injected = InjectedFault(fault)
        await injected.replace_reply(request)
        return injected
