"""Readiness of the server: the checks that the gRPC health service, `/readyz` and the status page report."""

import enum
from collections.abc import Mapping


class Check(enum.StrEnum):
    """A condition of readiness."""

    GRPC = "grpc"
    RESOURCES = "resources"
    ACCEPT_LOOPS = "accept-loops"
    DRAIN = "drain"


class Readiness:
    """The failed checks. The event loop changes them; any thread may read them."""

    def __init__(self) -> None:
        self._notes: dict[str, str] = {}
        self._failed: dict[Check, str] = {Check.GRPC: "the gRPC server has not started"}

    @property
    def is_ready(self) -> bool:
        """Whether all checks pass."""
        return not self._failed

    @property
    def is_draining(self) -> bool:
        """Whether the server drains; it is never ready again."""
        return Check.DRAIN in self._failed

    def fail(self, check: Check, reason: str) -> None:
        """Let a check fail, with a reason that has no content of callers."""
        self._failed[check] = reason

    def succeed(self, check: Check) -> None:
        """Let a check pass."""
        self._failed.pop(check, None)

    def note(self, name: str, text: str) -> None:
        """Show a state that does not concern readiness."""
        self._notes = {**self._notes, name: text}  # a new one: other threads iterate

    @property
    def notes(self) -> Mapping[str, str]:
        """The notes by name."""
        return self._notes

    def results(self) -> dict[Check, str]:
        """Return the reason of the failure of each check, empty if it passes."""
        return {check: self._failed.get(check, "") for check in Check}
