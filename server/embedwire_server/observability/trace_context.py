"""The W3C trace context: the identifiers by which the spans and log lines of several services belong to one trace.

https://www.w3.org/TR/trace-context/. Values that do not follow it are ignored, as it demands: a call never fails
because of them.
"""

import contextvars
import re
from collections.abc import Mapping
from typing import NamedTuple

PARENT_KEY, STATE_KEY = "traceparent", "tracestate"
SAMPLED = 1

# A version above 00 may append fields; `ff` is not a version.
_PARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]{0,200})?"
)
_FIRST_VERSION = "00"
# What every service should be able to pass on, by the specification.
_MAX_STATE_CHARS, _MAX_MEMBERS = 512, 32
_MEMBER = re.compile(
    r"[ \t]*(?P<key>[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[ -+\--<>-~]{0,255}[!-+\--<>-~][ \t]*"
)
_KNOWN_FLAGS = 0b11  # sampled, random trace id; a service must not set the others


class TraceContext(NamedTuple):
    """Position in a trace.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits.
        span_id: 16 lower-case hexadecimal digits.
        flags: `SAMPLED`, and whether the trace id is random (2).
        state: the value of `tracestate`; empty without one.
        is_remote: whether it is that of the caller.
    """

    trace_id: str
    span_id: str
    flags: int
    state: str = ""
    is_remote: bool = True

    @property
    def is_sampled(self) -> bool:
        """Whether the trace is recorded."""
        return bool(self.flags & SAMPLED)

    @property
    def flag_digits(self) -> str:
        """The flags as two hexadecimal digits."""
        return f"{self.flags:02x}"

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the HTTP headers that pass it on."""
        parent = f"{_FIRST_VERSION}-{self.trace_id}-{self.span_id}-{self.flag_digits}"
        headers = [(PARENT_KEY.encode(), parent.encode())]
        if self.state:
            headers.append((STATE_KEY.encode(), self.state.encode()))
        return headers


# That of the innermost span of the running code; without spans, that of the caller.
current: contextvars.ContextVar[TraceContext | None] = contextvars.ContextVar("embedwire_trace", default=None)


def parse(metadata: Mapping[str, str | bytes]) -> TraceContext | None:
    """Return the trace context of a caller; None if it sends none that is valid.

    Args:
        metadata: of the call, see `call_context.single_values`.
    """
    parent = metadata.get(PARENT_KEY)
    if not isinstance(parent, str) or (found := _PARENT.fullmatch(parent)) is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == _FIRST_VERSION and rest is not None:
        return None
    return TraceContext(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS, _state(metadata.get(STATE_KEY)))


def _state(value: str | bytes | None) -> str:
    """Return the value of `tracestate`; empty if it is not valid."""
    if not isinstance(value, str) or len(value) > _MAX_STATE_CHARS:
        return ""
    members = [member for member in value.split(",") if member.strip(" \t")]
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {match["key"] for match in found if match is not None}
    return value if len(keys) == len(members) <= _MAX_MEMBERS else ""
