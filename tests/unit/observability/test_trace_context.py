"""Parsing of the W3C trace context."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.observability import trace_context
from embedwire_server.observability.trace_context import TraceContext

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
FOUND = TraceContext(TRACE_ID, SPAN_ID, 1)


def parse(parent: str | bytes, state: str | bytes | None = None) -> TraceContext | None:
    return trace_context.parse({"traceparent": parent} | ({} if state is None else {"tracestate": state}))


@pytest.mark.parametrize(
    ("parent", "flags"),
    [
        (PARENT, 1),
        (f"00-{TRACE_ID}-{SPAN_ID}-00", 0),
        (f"00-{TRACE_ID}-{SPAN_ID}-03", 3),
        (f"00-{TRACE_ID}-{SPAN_ID}-ff", 3),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01", 1),
        (f"01-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like", 1),
    ],
)
def test_valid(parent: str, flags: int) -> None:
    """Every version is read by the fields of version 00, and passed on in it; unknown flags are dropped."""
    found = parse(parent)
    assert found == TraceContext(TRACE_ID, SPAN_ID, flags)
    assert found.headers() == [(b"traceparent", f"00-{TRACE_ID}-{SPAN_ID}-{flags:02x}".encode())]


@pytest.mark.parametrize(
    "parent",
    [
        "",
        b"",  # a repeated key, see single_values
        PARENT.encode(),
        PARENT.upper(),
        PARENT + "-",
        PARENT + "-00",
        " " + PARENT,
        PARENT + "\n",
        PARENT.replace("-", "_"),
        PARENT.replace("a", "á"),
        PARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[1:]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}0-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"01-{TRACE_ID}-{SPAN_ID}-01.",
        f"01-{TRACE_ID}-{SPAN_ID}-01-" + "a" * 1000,
        f"01-{TRACE_ID}-{SPAN_ID}-01-\r\nx: y",
    ],
)
def test_invalid(parent: str | bytes) -> None:
    """What does not follow the specification is ignored, with its tracestate."""
    assert parse(parent, "a=b") is None


@given(st.text(alphabet=string.hexdigits + "-", max_size=60))
def test_any_text(parent: str) -> None:
    """Any text is either ignored, or has the form of the specification."""
    found = parse(parent)
    assert found is None or parent.startswith(f"{parent[:2]}-{found.trace_id}-{found.span_id}-")


def test_no_context() -> None:
    """A tracestate alone is no context."""
    assert trace_context.parse({"tracestate": "a=b"}) is None


@pytest.mark.parametrize(
    "state",
    ["a=b", "a=b,c=d", "a=b , c=d", "a=b,,c=d", "tenant@vendor=x:1;y:2", "1tenant@vendor=x", "a= b", "a=" + "x" * 256],
)
def test_valid_state(state: str) -> None:
    """A valid tracestate is passed on unchanged."""
    found = parse(PARENT, state)
    assert found == FOUND._replace(state=state)
    assert found.headers()[1] == (b"tracestate", state.encode())


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"a=b",
        "a",
        "a=",
        "=b",
        "A=b",
        "a=b,a=c",
        "a=b=c",
        "a=ü",
        "a=b\r\nx: y",
        "a@b@c=d",
        "a=" + "x" * 257,
        ",".join(f"a{number}=b" for number in range(33)),
        "a=" + "x" * 200 + ",b=" + "x" * 200 + ",c=" + "x" * 200,
    ],
)
def test_invalid_state(state: str | bytes) -> None:
    """An invalid tracestate is dropped; the trace continues."""
    assert parse(PARENT, state) == FOUND
