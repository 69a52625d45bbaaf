"""Scriptable faults, and the queue of pending ones.

`injection` applies them; `api` scripts them over HTTP.
"""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from types import NoneType
from typing import Any, Final, Literal, get_args

from embedwire_sandbox.calls import OPERATIONS, Operation
from embedwire_sandbox.models import MODALITIES, Modality

FaultKind = Literal[
    "status", "delay", "reset", "close", "trickle", "cut", "malformed_json", "no_model_name",
    "no_segments", "modality_error", "wrong_dimensions", "nan", "overflow", "lost_reply", "hold",
]  # fmt: skip
FAULT_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)

_EARLY_KINDS: Final = frozenset({"status", "reset", "close"})  # kinds that need no request body


@dataclass(frozen=True, slots=True)
class Fault:
    """Fault for one or more calls.

    Attributes:
        kind: What happens. `status`: another status with `body` and `headers`. `delay`: nothing but the delay.
            `reset`: the connection is reset (RST) before any byte. `close`: it is closed (FIN) before any byte.
            `trickle`: a pause of `pause_sec` after `after_bytes` of the body. `cut`: the connection closes after
            `after_bytes` of the body. `malformed_json`: a byte that JSON forbids, after `after_bytes`.
            `no_model_name`, `no_segments`: the field is missing. `modality_error`: `error_message` and no segments.
            `wrong_dimensions`: each vector is one number short. `nan`, `overflow`: each vector begins with `NaN` or
            `1e400`. `lost_reply`: the call has its effect, then the connection closes before any byte. `hold`: the
            call has its effect, and its response waits for `pause_sec`.
            In the v2 dialect, `no_segments` omits `data`; `modality_error` on the creation of a task or an asset lets
            it end as failed; `no_model_name`, and `modality_error` elsewhere, have no effect.
        modality: Only calls with this modality; `None` means any call. The kinds that change vectors or members then
            affect this one only.
        times: Number of calls; `None` means all until it is removed.
        delay_sec: Wait before the fault and before the headers, in seconds. For every kind.
        before_body: Act before the request body is read; for `status`, `reset` and `close` without a modality. The
            system may then reset a connection that should only be closed.
        status: For `status`: the HTTP status.
        body: For `status`: the body. `None` is a JSON error document, the empty string is no body.
        content_type: For `status`: the content type of the body.
        headers: For `status`: further headers, such as `Retry-After`.
        after_bytes: Where in the body `trickle`, `cut` and `malformed_json` act. Beyond the end, they do not.
        pause_sec: For `trickle`: how long, in seconds.
        message: For `modality_error`: the message.
        operation: Only calls of this operation; `None` means any call.
        every: Only every n-th call that matches; 5 is a fifth of the calls.

    Raises:
        ValueError: A value is out of range, or two are incompatible.
    """

    kind: FaultKind
    _: KW_ONLY
    modality: Modality | None = None
    times: int | None = 1
    delay_sec: float = 0.0
    before_body: bool = False
    status: int = 503
    body: str | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    after_bytes: int = 0
    pause_sec: float = 0.0
    message: str = "The input could not be processed."
    operation: Operation | None = None
    every: int = 1

    def __post_init__(self) -> None:
        checks = {
            "kind": self.kind in FAULT_KINDS,
            "operation": self.operation in (None, *OPERATIONS),
            "modality": self.modality in (None, *MODALITIES),
            "every": self.every >= 1,
            "times": self.times is None or self.times >= 1,
            "delay_sec": self.delay_sec >= 0,
            "before_body": not self.before_body or (self.kind in _EARLY_KINDS and self.modality is None),
            "status": 200 <= self.status <= 599,  # noqa: PLR2004
            "after_bytes": self.after_bytes >= 0,
            "pause_sec": self.pause_sec >= 0,
        }
        if wrong := [name for name, right in checks.items() if not right]:
            raise ValueError(f"wrong value of {', '.join(wrong)}")


_NUMBER: Final = (int, float)
_JSON_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "kind": str,
    "operation": (str, NoneType),
    "modality": (str, NoneType),
    "every": int,
    "times": (int, NoneType),
    "delay_sec": _NUMBER,
    "before_body": bool,
    "status": int,
    "body": (str, NoneType),
    "content_type": str,
    "headers": dict,
    "after_bytes": int,
    "pause_sec": _NUMBER,
    "message": str,
}


def fault_from_json(value: Any) -> Fault:  # noqa: ANN401
    """Build a fault from decoded JSON.

    Raises:
        ValueError: It is no object, `kind` is missing, a name is unknown, or a value is invalid.
    """
    if not isinstance(value, dict) or "kind" not in value:
        raise ValueError("a fault is an object with a kind")
    if unknown := value.keys() - _JSON_TYPES.keys():
        raise ValueError(f"unknown names: {', '.join(sorted(unknown))}")
    wrong = [name for name, item in value.items() if not isinstance(item, _JSON_TYPES[name])]
    if wrong or not all(isinstance(item, str) for item in value.get("headers", {}).values()):
        raise ValueError(f"wrong type of {', '.join(wrong) or 'headers'}")
    return Fault(**value)


def fault_to_json(fault: Fault) -> dict[str, Any]:
    """Return the object that `fault_from_json` reads."""
    return {item.name: getattr(fault, item.name) for item in fields(fault)}


@dataclass(slots=True, eq=False)
class _Pending:
    fault: Fault
    left: int | None
    matched: int = 0


class FaultScript:
    """Queue of pending faults. The first that matches a call applies to it, and no other."""

    def __init__(self) -> None:
        self._pending: list[_Pending] = []

    @property
    def pending(self) -> list[tuple[Fault, int | None]]:
        """Pending faults with the number of calls left for each; `None` for all."""
        return [(pending.fault, pending.left) for pending in self._pending]

    def add(self, *faults: Fault) -> None:
        """Append faults."""
        self._pending += [_Pending(fault, fault.times) for fault in faults]

    def clear(self) -> None:
        """Remove all faults."""
        self._pending.clear()

    def take(
        self, operation: Operation | None, modalities: Iterable[Modality], *, before_body: bool = False
    ) -> Fault | None:
        """Return the fault for a call of this operation with these modalities, and count it."""
        asked = (None, *modalities)
        for pending in self._pending:
            fault = pending.fault
            if (
                fault.operation in (None, operation)
                and fault.modality in asked
                and fault.before_body == before_body
                and self._is_due(pending)
            ):
                return fault
        return None

    def _is_due(self, pending: _Pending) -> bool:
        pending.matched += 1
        if pending.matched % pending.fault.every:
            return False
        if pending.left is not None:
            pending.left -= 1
            if not pending.left:
                self._pending.remove(pending)
        return True
