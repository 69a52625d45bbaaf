"""Log lines about OpenTelemetry's own problems."""

import logging
from collections.abc import Iterator

import grpc
import pytest
import structlog

from embedwire_server.observability import sdk_logs


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of an exporter, whose records are taken over."""
    parent = logging.getLogger("opentelemetry")
    before = parent.handlers, parent.propagate, parent.level
    sdk_logs.take_over()
    yield logging.getLogger("opentelemetry.exporter.test")
    parent.handlers, parent.propagate, parent.level = before


def test_arguments_are_hidden(logger: logging.Logger) -> None:
    """A line has the constant text of a message, its numbers, codes and types of errors, and nothing else."""
    text = "Failed to export %s to %s, code %s, after %d attempts: %s, %s"
    with structlog.testing.capture_logs() as lines:
        logger.error(
            text,
            "traces",
            "user:SECRET@host",
            grpc.StatusCode.UNAVAILABLE,
            3,
            "SECRET",
            ValueError("SECRET"),
        )
    message = "Failed to export traces to [...], code UNAVAILABLE, after 3 attempts: [...], ValueError"
    assert lines == [
        {"event": "OpenTelemetry reports a problem", "message": message, "not_logged": 0, "log_level": "warning"}
    ]


@pytest.mark.parametrize(("text", "argument"), [("character %c", "S"), ("%(name)s", {"name": "SECRET"})])
def test_what_cannot_be_formatted(logger: logging.Logger, text: str, argument: object) -> None:
    """A message whose arguments do not fit is its constant text."""
    with structlog.testing.capture_logs() as lines:
        logger.warning(text, argument)
    assert lines[0]["message"] == text


def test_rate(logger: logging.Logger) -> None:
    """Repeated records from one place are one line; information is none."""
    with structlog.testing.capture_logs() as lines:
        for number in range(1000):
            logger.warning("number %d", number)
            logger.info("more")
        logger.warning("another")
    assert [line["message"] for line in lines] == ["number 0", "another"]


def test_nothing_after_the_end(logger: logging.Logger) -> None:
    """After the end there are no lines."""
    sdk_logs.end()
    with structlog.testing.capture_logs() as lines:
        logger.error("late")
    assert lines == []
