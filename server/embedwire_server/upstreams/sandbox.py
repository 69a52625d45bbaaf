"""Runs the sandbox as the upstream. The only module that imports it, since it is an optional extra."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

_MISSING = "the sandbox is not installed: install embedwire-server[sandbox], or set TWELVELABS_API_KEY or --upstream"


@contextlib.asynccontextmanager
async def sandbox(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    fault_control: bool = False,
    **options: Any,  # noqa: ANN401
) -> AsyncGenerator[str]:
    """Run the sandbox in this process; yields its base URL.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        fault_control: whether faults can be scripted over HTTP.
        options: further options of the sandbox, by their names in `SandboxOptions`.

    Raises:
        RuntimeError: its packages are missing.
        OSError: the port is in use.
    """
    try:
        from embedwire_sandbox import Sandbox, SandboxOptions  # noqa: PLC0415 - production does without
    except ImportError as error:
        raise RuntimeError(_MISSING) from error
    server = Sandbox(SandboxOptions(fault_control=fault_control, **options))
    await server.start(host, port)
    try:
        yield server.base_url
    finally:
        await server.stop()
