"""One `create`: its inputs, what has become of them so far, and whether to try again. It does no I/O."""

import dataclasses
import random
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

from embedwire.errors import EmbedwireError, Failure, GatewayError, RefusedError, UnreachableError
from embedwire.inputs import Audio, Image, Input, Text, Truncate
from embedwire.options import CallOptions
from embedwire.requests import AUDIO_SECONDS, TEXT_SECONDS
from embedwire.results import Event, Result, Segment
from embedwire.twelvelabs.errors import DOCS_URL, ApiError, BadRequestError, api_error
from embedwire.twelvelabs.media import is_repeatable, named_file, rewound
from embedwire.twelvelabs.options import Options, read_options
from embedwire.twelvelabs.response import Outcome, response
from embedwire.twelvelabs.types import EmbeddingResponse

# What may pass by itself. Everything else would fail again.
_PASSING = {"UPSTREAM_RATE_LIMITED", "UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT", "UPSTREAM_CONFLICT"}
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 8.0
# The upstream cuts by itself on this model, and its page calls the parameter deprecated.
_MODEL_WITHOUT_TRUNCATE = "marengo3.0"
# Frames from the warning to the code that called `create`.
_CALLER = 5


@dataclasses.dataclass(slots=True)
class _Part:
    """One input of the call: how it is made anew for each attempt, and what became of it."""

    make: Callable[[], Input]
    is_repeatable: bool = True
    sent: Input | None = None
    attempts: int = 0
    segments: list[Segment] = dataclasses.field(default_factory=list)
    result: Result | None = None
    error: EmbedwireError | None = None


class Creation:
    """What `create` was given, and what became of it. The client asks it what to send, and tells it what came.

    Args:
        model_name: the model.
        timeout: that of the client, in seconds.
        arguments: the others of `create`, by name.

    Raises:
        BadRequestError, OSError, TypeError, ValueError: an argument cannot be meant; the message names it.
    """

    def __init__(self, model_name: str, timeout: float | None, arguments: Mapping[str, Any]) -> None:
        self._options = read_options(arguments["request_options"])
        self._parts = _parts(model_name, arguments, self._options)
        self._pending = list(self._parts)
        self._rounds = 0
        limits = (self._options.timeout, timeout, AUDIO_SECONDS if "audio" in self._parts else TEXT_SECONDS)
        self._ends = time.monotonic() + next(seconds for seconds in limits if seconds is not None)

    def inputs(self) -> list[Input]:
        """What to send now."""
        items: list[Input] = []
        for part in (self._parts[name] for name in self._pending):
            part.sent = part.make()
            items.append(part.sent)
        return items

    def call_options(self) -> CallOptions:
        """How to send it: within what is left of time and of retries."""
        chosen: CallOptions = {"timeout": max(0.0, self._ends - time.monotonic())}
        if self._options.max_retries is not None:
            spent = max((self._parts[name].attempts for name in self._pending), default=0)
            chosen["max_retries"] = max(0, self._options.max_retries - spent)
        if self._options.request_id is not None:
            chosen["request_id"] = self._options.request_id
        if self._options.chunk_bytes is not None:
            chosen["chunk_bytes"] = self._options.chunk_bytes
        return chosen

    def add(self, event: Event) -> None:
        """Take one event of the answer."""
        part = self._parts[self._pending[event.input_index]]
        if isinstance(event, Segment):
            part.segments.append(event)
            return
        part.attempts += max(1, event.attempts)
        if event.failure is None:
            part.result = event
        else:
            part.error = event.failure.error(event.request_id, event.attempts)

    def fail(self, error: EmbedwireError) -> None:
        """Take the failure of the call: it is that of every input without a result.

        Raises:
            ApiError: there are no inputs.
        """
        if not self._parts:
            raise api_error(error) from error
        for part in (self._parts[name] for name in self._pending):
            if part.result is None and part.error is None:
                part.error = error
                part.attempts += max(1, error.attempts)

    def delay(self) -> float | None:
        """Seconds to wait before what failed is sent again; None if nothing is."""
        again = [name for name, part in self._parts.items() if self._may_pass(part)]
        errors = [error for name in again if (error := self._parts[name].error) is not None]
        hints = [error.retry_delay for error in errors if error.retry_delay is not None]
        jitter = random.uniform(0, min(_LONGEST_DELAY, _FIRST_DELAY * 2**self._rounds))  # noqa: S311 - no secret
        delay = max([jitter, *hints])  # a hint of 0, or a negative one, does not replace the back-off
        if not again or time.monotonic() + delay >= self._ends:
            return None
        self._rounds += 1
        self._pending = again
        for part in (self._parts[name] for name in again):
            part.error = None
            part.segments.clear()
        return delay

    def response(self) -> EmbeddingResponse:
        """What `create` returns.

        Raises:
            ApiError: nothing could be embedded. It is the first failure, in the order text, image, audio; the
                others are notes on it.
        """
        for part in self._parts.values():
            if part.result is None and part.error is None:
                message = "the server ended the call without a result for this input"
                part.error = GatewayError(Failure("INTERNAL", "INTERNAL", message))
        outcomes = {
            name: Outcome(part.sent, tuple(part.segments), part.result, part.error)
            for name, part in self._parts.items()
        }
        if all(outcome.error for outcome in outcomes.values()):
            raise _nothing(outcomes)
        return response(outcomes)

    def _may_pass(self, part: _Part) -> bool:
        if part.error is None or not part.is_repeatable or part.attempts > (self._options.max_retries or 0):
            return False
        return isinstance(part.error, RefusedError | UnreachableError) or part.error.reason in _PASSING


def _parts(model_name: str, arguments: Mapping[str, Any], options: Options) -> dict[str, _Part]:
    """The inputs, in the order in which the SDK's results list them."""
    parts: dict[str, _Part] = {}
    offset = _offset(arguments["audio_start_offset_sec"])
    truncate = _truncate(model_name, arguments["text_truncate"], options)
    if (text := arguments["text"]) is not None:
        if not isinstance(text, str):
            raise TypeError(f"text: must be a str, got {type(text).__name__}")
        parts["text"] = _Part(lambda: Text(text, truncate=truncate))
    if (make := _media("image", arguments)) is not None:
        parts["image"] = _Part(lambda: Image(**rewound(make)), is_repeatable(make))
    if (source := _media("audio", arguments)) is not None:
        parts["audio"] = _Part(lambda: Audio(**rewound(source), start_offset_sec=offset), is_repeatable(source))
    elif offset is not None:
        warnings.warn("audio_start_offset_sec has no effect without audio", UserWarning, stacklevel=_CALLER - 1)
    return parts


def _media(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The arguments of `Image` or `Audio`; a URL takes precedence over a file, by the SDK's page."""
    url, file = arguments[f"{name}_url"], arguments[f"{name}_file"]
    if url is None:
        return None if file is None else named_file(f"{name}_file", file)
    if not isinstance(url, str):
        raise TypeError(f"{name}_url: must be a str, got {type(url).__name__}")
    return {"url": url}


def _offset(value: Any) -> float | None:  # noqa: ANN401 - what the caller gives
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"audio_start_offset_sec: must be a number, got {type(value).__name__}")
    return None if value is None else float(value)


def _truncate(model_name: str, given: Any, options: Options) -> Truncate | None:  # noqa: ANN401 - likewise
    value = given if options.text_truncate is None else options.text_truncate
    if value is None:
        return None
    if model_name == _MODEL_WITHOUT_TRUNCATE:
        message = f"text_truncate is deprecated and not sent: {model_name} cuts long texts at the end by itself"
        warnings.warn(message, DeprecationWarning, stacklevel=_CALLER)
        return None
    if value not in ("none", "start", "end"):
        words = "You should use one of the following values: none, start, end."
        message = f"The text_truncate parameter is invalid. {words}"
        body = {"code": "parameter_invalid", "message": message, "docs_url": DOCS_URL}
        raise BadRequestError(body, {})
    return cast(Truncate, value)


def _nothing(outcomes: Mapping[str, Outcome]) -> ApiError:
    """The error of a call that could embed nothing."""
    errors = [(name, api_error(outcome.error), outcome.error) for name, outcome in outcomes.items() if outcome.error]
    _, first, cause = errors[0]
    for name, error, _ in errors[1:]:
        first.add_note(f"{name}: {error}")
    first.__cause__ = cause
    return first
