"""Options of calls and of runs of `map`, for both clients."""

import numbers
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from embedwire import vectors
from embedwire.results import Progress
from embedwire.vectors import Encoding

OnProgress = Callable[[Progress], object]

# With very long timeouts gRPC overflows, and the call expires immediately. The server has the same limit.
MAX_TIMEOUT_SECONDS = 7 * 24 * 3600.0
MAX_RETRIES = MAX_DIMENSIONS = 2**31 - 1  # the type of the fields
# Files in one message: the server's limit of a message, less 1 MiB for all other fields.
MESSAGE_BYTES = (16 << 20) - (1 << 20)
CHUNK_BYTES = 256 << 10

_MAX_FLOAT = sys.float_info.max

NOT_UTF8 = "cannot be encoded as UTF-8"

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_RANGES = {
    "max_retries": (0, MAX_RETRIES),
    "dimensions": (1, MAX_DIMENSIONS),
    "chunk_bytes": (1, MESSAGE_BYTES),
    "inputs_per_call": (1, 256),
    "concurrent_calls": (1, 1000),
}
_MAY_BE_NONE = ("max_retries", "dimensions")


class CallOptions(TypedDict, total=False):
    """Options of a single call.

    Attributes:
        timeout: deadline of the call in seconds, which covers queueing, uploads, all attempts and the response. By
            default that of the client, else 60 s; 600 s if any input is audio and all audio has `processing_mode`
            "sync"; and 3,600 s with other audio, since the upstream may process it as a task.
        max_retries: maximum number of upstream retries for each input; 0 forbids retries, None (the default) means the
            server's policy. The upstream may bill each attempt.
        request_id: request id for the server's log and metadata, 1 to 64 letters, digits and `-_.:`; by default a
            random id.
        chunk_bytes: size of upload chunks in bytes, 1 to 15 MiB; 256 KiB by default.
        encoding: encoding of vectors in responses, "float32_le" (the default, and the fastest) or "float_values"; the
            values are the same.
        dimensions: number of values of each vector, one of `Model.supported_dimensions`; None (the default) means
            `Model.dimensions`.
        include_uncertainty: whether segments have an uncertainty, if `Model.supports_uncertainty`. False by default.
    """

    timeout: float | None
    max_retries: int | None
    request_id: str | None
    chunk_bytes: int
    encoding: Encoding | None
    dimensions: int | None
    include_uncertainty: bool


class MapOptions(TypedDict, total=False):
    """Options of a run of `map`.

    Attributes:
        inputs_per_call: maximum number of inputs of a call, 1 to 256; 16 by default.
        concurrent_calls: maximum number of concurrent calls, 1 to 1000; 8 by default.
        timeout: deadline of each call in seconds, as in `CallOptions`. Waits after rejections do not count.
        run_timeout: timeout of the whole run in seconds, not counting pauses after rejections; None (the default) means
            no timeout.
        count_waits: whether both timeouts also count the waits after rejections. The deadline of an input then starts
            with its first call. False by default.
        max_retries: as in `CallOptions`.
        chunk_bytes: as in `CallOptions`.
        encoding: as in `CallOptions`.
        dimensions: as in `CallOptions`.
        include_uncertainty: as in `CallOptions`.
        on_progress: function that is called with each `Progress` of the inputs, which has their position in the
            iterable. `Client` calls it in threads of the run, `AsyncClient` in the event loop. An exception of it ends
            the run.
    """

    inputs_per_call: int
    concurrent_calls: int
    timeout: float | None
    run_timeout: float | None
    count_waits: bool
    max_retries: int | None
    chunk_bytes: int
    encoding: Encoding | None
    dimensions: int | None
    include_uncertainty: bool
    on_progress: OnProgress | None


def check(options: Mapping[str, Any], known: type) -> None:
    """Check the options of a call or of a run.

    Args:
        options: the options by name.
        known: `CallOptions` or `MapOptions`.

    Raises:
        TypeError: an option is unknown, or has the wrong type.
        ValueError: an option is invalid; the message names it and its limits.
    """
    if unknown := options.keys() - known.__annotations__.keys():
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
    for name in ("timeout", "run_timeout"):
        check_timeout(name, options.get(name))
    for name in _RANGES.keys() & options.keys():
        _check_range(name, options[name])
    for name in ("count_waits", "include_uncertainty"):
        if not isinstance(options.get(name, False), bool):
            raise TypeError(f"{name}: must be a bool, got {type(options[name]).__name__}")
    check_on_progress(options.get("on_progress"))
    vectors.encoding(options.get("encoding"))
    request_id = options.get("request_id")
    if not isinstance(request_id, str | None):
        raise TypeError(f"request_id: must be a str, got {type(request_id).__name__}")
    if request_id is not None and not _REQUEST_ID.fullmatch(request_id):
        raise ValueError("request_id: must have 1 to 64 letters, digits and -_.: only")


def check_on_progress(function: object) -> None:
    """Check the function that receives the progress of inputs.

    Raises:
        TypeError: it is not None and cannot be called.
    """
    if function is not None and not callable(function):
        raise TypeError(f"on_progress: must be a function, got {type(function).__name__}")


def check_model(model: object) -> None:
    """Check the name of a model.

    Raises:
        TypeError: it is not a string.
        ValueError: it cannot be encoded as UTF-8.
    """
    if not isinstance(model, str):
        raise TypeError(f"model: must be a str, got {type(model).__name__}")
    if not is_utf8(model):
        raise ValueError(f"model: {NOT_UTF8}")


def is_utf8(text: str) -> bool:
    """Return whether a string can be encoded as UTF-8. Strings with lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_timeout(name: str, seconds: float | None) -> None:
    """Check a timeout.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative or NaN, or outside the range of floats.
    """
    if not isinstance(seconds, numbers.Real | None):
        raise TypeError(f"{name}: must be a number of seconds, got {type(seconds).__name__}")
    if seconds is not None and _MAX_FLOAT < seconds < float("inf"):
        raise ValueError(f"{name}: must be at most {_MAX_FLOAT} seconds")
    if seconds is not None and not seconds >= 0:
        raise ValueError(f"{name}: must be a number of seconds, 0 or more, got {seconds}")


def _check_range(name: str, value: object) -> None:
    if value is None and name in _MAY_BE_NONE:
        return
    least, most = _RANGES[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: must be an int, got {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name}: must be {least} to {most}, got {value}")
