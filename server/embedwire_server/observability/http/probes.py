"""Probes: `/livez` and `/readyz`, with the meaning and the text of those of Kubernetes components."""

from starlette.responses import PlainTextResponse

from embedwire_server.observability.heartbeat import Heartbeat
from embedwire_server.observability.readiness import Readiness

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_OK, _FAILED = 200, 503


def livez(heartbeat: Heartbeat, limit: float) -> PlainTextResponse:
    """Return 200, or 503 if the main event loop has not run for `limit` seconds."""
    if (silence := heartbeat.silence) > limit:
        return _response(f"failed: the main event loop has not run for {silence:.0f} s\n", is_ok=False)
    return _response("ok\n", is_ok=True)


def readyz(readiness: Readiness) -> PlainTextResponse:
    """Return 200 if all checks pass, else 503; the body lists the checks, and notes without influence."""
    results = readiness.results()
    lines = [f"[-]{check} failed: {reason}" if reason else f"[+]{check} ok" for check, reason in results.items()]
    lines += [f"{name}: {text}" for name, text in readiness.notes.items()]
    is_ok = not any(results.values())
    lines.append(f"readyz check {'passed' if is_ok else 'failed'}")
    return _response("\n".join(lines) + "\n", is_ok=is_ok)


def _response(text: str, *, is_ok: bool) -> PlainTextResponse:
    return PlainTextResponse(text, _OK if is_ok else _FAILED, HEADERS)
