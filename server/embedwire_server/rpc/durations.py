"""Conversion of seconds to `google.protobuf.Duration`."""

from google.protobuf import duration_pb2

MAX_SECONDS = 315_576_000_000  # 10,000 years, by the definition of Duration


def of(seconds: float) -> duration_pb2.Duration:
    """Convert seconds to a Duration; see `write`."""
    message = duration_pb2.Duration()
    write(message, seconds)
    return message


def write(message: duration_pb2.Duration, seconds: float) -> None:
    """Write seconds into a Duration, rounded to the microsecond, at most its maximum."""
    micros = round(seconds * 1_000_000) if seconds < MAX_SECONDS else int(MAX_SECONDS) * 1_000_000
    message.nanos = micros % 1_000_000 * 1000  # marks the field as present, also if it is 0
    if micros >= 1_000_000:  # noqa: PLR2004
        message.seconds = micros // 1_000_000
