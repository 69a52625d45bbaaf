"""State of one `create` call, without I/O: its inputs, their results so far, and its retries."""

import dataclasses
import random
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

from embedwire.connection import AUDIO_SECONDS, TEXT_SECONDS
from embedwire.errors import EmbedwireError, Failure, GatewayError, RefusedError, TransportError
from embedwire.inputs import Audio, Image, Input, Text, Truncate
from embedwire.options import CallOptions
from embedwire.results import Event, Progress, Result, Segment
from embedwire.twelvelabs.errors import DOCS_URL, ApiError, BadRequestError, api_error
from embedwire.twelvelabs.media import is_repeatable, media_arguments, rewind
from embedwire.twelvelabs.options import Options, parse_options
from embedwire.twelvelabs.response import Outcome, response
from embedwire.twelvelabs.types import EmbeddingResponse

# Transient failures. All others would fail again.
_TRANSIENT = {"UPSTREAM_RATE_LIMITED", "UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT", "UPSTREAM_CONFLICT"}
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 8.0
# The upstream truncates texts for this model automatically, and its page calls the parameter deprecated.
_MODEL_WITHOUT_TRUNCATE = "marengo3.0"
# Stack frames from the warning to the caller of `create`.
_CALLER = 5


@dataclasses.dataclass(slots=True)
class _InputState:
    """One input of the call: its factory, since each attempt needs a new input, and its result so far."""

    make: Callable[[], Input]
    is_repeatable: bool = True
    sent: Input | None = None
    attempts: int = 0
    segments: list[Segment] = dataclasses.field(default_factory=list)
    result: Result | None = None
    error: EmbedwireError | None = None
    has_task: bool = False


class CreateCall:
    """State of one `create` call. Returns the inputs to send, and receives the events.

    Args:
        model_name: the model.
        timeout: timeout of the client, in seconds.
        arguments: the other arguments of `create`, by name.

    Raises:
        BadRequestError, OSError, TypeError, ValueError: an argument is invalid; the message names it.
    """

    def __init__(self, model_name: str, timeout: float | None, arguments: Mapping[str, Any]) -> None:
        self._options = parse_options(arguments["request_options"])
        self._states = _input_states(model_name, arguments, self._options)
        self._pending = list(self._states)
        self._rounds = 0
        limits = (self._options.timeout, timeout, AUDIO_SECONDS if "audio" in self._states else TEXT_SECONDS)
        self._deadline = time.monotonic() + next(seconds for seconds in limits if seconds is not None)

    def inputs(self) -> list[Input]:
        """Return the inputs of the next attempt."""
        items: list[Input] = []
        for state in (self._states[name] for name in self._pending):
            state.sent = state.make()
            items.append(state.sent)
        return items

    def call_options(self) -> CallOptions:
        """Return the options of the next attempt, with the remaining time and retries."""
        chosen: CallOptions = {"timeout": max(0.0, self._deadline - time.monotonic())}
        if self._options.max_retries is not None:
            spent = max((self._states[name].attempts for name in self._pending), default=0)
            chosen["max_retries"] = max(0, self._options.max_retries - spent)
        if self._options.request_id is not None:
            chosen["request_id"] = self._options.request_id
        if self._options.chunk_bytes is not None:
            chosen["chunk_bytes"] = self._options.chunk_bytes
        return chosen

    def add(self, event: Event) -> None:
        """Add an event of the response."""
        state = self._states[self._pending[event.input_index]]
        if isinstance(event, Segment):
            state.segments.append(event)
            return
        if isinstance(event, Progress):
            state.has_task = state.has_task or bool(event.upstream_task_id)
            return
        state.attempts += max(1, event.attempts)
        if event.failure is None:
            state.result = event
        else:
            state.error = event.failure.error(event.request_id, event.attempts)

    def fail(self, error: EmbedwireError) -> None:
        """Add the failure of the call: every input without a result fails with it.

        Raises:
            ApiError: there are no inputs.
        """
        if not self._states:
            raise api_error(error) from error
        for state in (self._states[name] for name in self._pending):
            if state.result is None and state.error is None:
                state.error = error
                state.attempts += max(1, error.attempts)

    def delay(self) -> float | None:
        """Return the seconds until the failed inputs are sent again; None if there is no retry."""
        again = [name for name, state in self._states.items() if self._is_retryable(state)]
        errors = [error for name in again if (error := self._states[name].error) is not None]
        hints = [error.retry_delay for error in errors if error.retry_delay is not None]
        jitter = random.uniform(0, min(_LONGEST_DELAY, _FIRST_DELAY * 2**self._rounds))  # noqa: S311 - not for cryptography
        delay = max([jitter, *hints])  # a hint of 0, or a negative one, does not replace the back-off
        if not again or time.monotonic() + delay >= self._deadline:
            return None
        self._rounds += 1
        self._pending = again
        for state in (self._states[name] for name in again):
            state.error = None
            state.segments.clear()
        return delay

    def response(self) -> EmbeddingResponse:
        """Return the response of `create`.

        Raises:
            ApiError: all inputs failed. It is the first failure in the order text, image, audio; the others are added
                as notes.
        """
        for state in self._states.values():
            if state.result is None and state.error is None:
                message = "the server ended the call without a result for this input"
                state.error = GatewayError(Failure("INTERNAL", "INTERNAL", message))
        outcomes = {
            name: Outcome(state.sent, tuple(state.segments), state.result, state.error)
            for name, state in self._states.items()
        }
        if all(outcome.error for outcome in outcomes.values()):
            raise _combined_error(outcomes)
        return response(outcomes)

    def _is_retryable(self, state: _InputState) -> bool:
        if state.error is None or not state.is_repeatable or state.attempts > (self._options.max_retries or 0):
            return False
        if state.has_task or state.error.upstream_task_id:
            return False  # another attempt would create a second task, which the upstream bills as well
        return isinstance(state.error, RefusedError | TransportError) or state.error.reason in _TRANSIENT


def _input_states(model_name: str, arguments: Mapping[str, Any], options: Options) -> dict[str, _InputState]:
    """Return the inputs in the order of the fields of `EmbeddingResponse`."""
    states: dict[str, _InputState] = {}
    offset = _offset(arguments["audio_start_offset_sec"])
    truncate = _truncate(model_name, arguments["text_truncate"], options)
    if (text := arguments["text"]) is not None:
        if not isinstance(text, str):
            raise TypeError(f"text: must be a str, got {type(text).__name__}")
        states["text"] = _InputState(lambda: Text(text, truncate=truncate))
    if (make := _media("image", arguments)) is not None:
        states["image"] = _InputState(lambda: Image(**rewind(make)), is_repeatable(make))
    if (source := _media("audio", arguments)) is not None:
        states["audio"] = _InputState(lambda: Audio(**rewind(source), start_offset_sec=offset), is_repeatable(source))
    elif offset is not None:
        warnings.warn("audio_start_offset_sec has no effect without audio", UserWarning, stacklevel=_CALLER - 1)
    return states


def _media(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the arguments of `Image` or `Audio`. A URL takes precedence over a file, as the SDK documents."""
    url, file = arguments[f"{name}_url"], arguments[f"{name}_file"]
    if url is None:
        return None if file is None else media_arguments(f"{name}_file", file)
    if not isinstance(url, str):
        raise TypeError(f"{name}_url: must be a str, got {type(url).__name__}")
    return {"url": url}


def _offset(value: Any) -> float | None:  # noqa: ANN401 - any argument
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"audio_start_offset_sec: must be a number, got {type(value).__name__}")
    return None if value is None else float(value)


def _truncate(model_name: str, given: Any, options: Options) -> Truncate | None:  # noqa: ANN401 - likewise
    value = given if options.text_truncate is None else options.text_truncate
    if value is None:
        return None
    if model_name == _MODEL_WITHOUT_TRUNCATE:
        message = f"text_truncate is deprecated and not sent: {model_name} always truncates long texts at the end"
        warnings.warn(message, DeprecationWarning, stacklevel=_CALLER)
        return None
    if value not in ("none", "start", "end"):
        words = "You should use one of the following values: none, start, end."
        message = f"The text_truncate parameter is invalid. {words}"
        body = {"code": "parameter_invalid", "message": message, "docs_url": DOCS_URL}
        raise BadRequestError(body, {})
    return cast(Truncate, value)


def _combined_error(outcomes: Mapping[str, Outcome]) -> ApiError:
    """Return the error of a call in which all inputs failed."""
    errors = [(name, api_error(outcome.error), outcome.error) for name, outcome in outcomes.items() if outcome.error]
    _, first, cause = errors[0]
    for name, error, _ in errors[1:]:
        first.add_note(f"{name}: {error}")
    first.__cause__ = cause
    return first
