"""Startup decision whether the private API of grpcio is used."""

import grpc
import structlog

from embedwire_server.observability.exception_logging import describe
from embedwire_server.rpc.grpcio import self_check

TESTED = "1.85"  # the minor version; pyproject.toml has the same bound

log = structlog.get_logger(__name__)


async def uses_private_api(*, public_api_only: bool) -> bool:
    """Return whether to use the private API; log the reason if not, unless the setting turns it off."""
    if public_api_only:
        return False
    if ".".join(grpc.__version__.split(".")[:2]) != TESTED:
        log.warning(
            "this version of grpcio was not tested: the server uses its public API only, which is slower",
            installed=grpc.__version__,
            tested=f"{TESTED}.x",
        )
        return False
    try:
        await self_check.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the public API remains
        log.error(  # noqa: TRY400 - no texts
            "the private API of grpcio does not work as tested: the server uses the public API only, which is slower",
            installed=grpc.__version__,
            **describe(error),
        )
        return False
    return True
