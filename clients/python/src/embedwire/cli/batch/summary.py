"""Summary of a batch, and its exit code."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from embedwire.batch import Progress, Summary
from embedwire.cli import durations, exit_codes
from embedwire.cli.batch.display import rate
from embedwire.cli.terminal import Screen, print_labelled

_LABEL_WIDTH = 16
# Reasons of inputs that were not sent; the source has to be corrected.
_OF_SOURCE = {"INVALID_RECORD", "CHANGED", "DUPLICATE_KEY"}


def print_summary(screen: Screen, summary: Summary, output: Path, exit_code: int) -> None:
    """Print what was embedded and what was not, where it is, and how to continue."""
    for label, text in _lines(summary, output, exit_code):
        print_row(screen, label, text)


def print_row(screen: Screen, label: str, text: str) -> None:
    """Print a text beside its label."""
    print_labelled(screen, Text(label.ljust(_LABEL_WIDTH)), Text(text))


def _lines(summary: Summary, output: Path, exit_code: int) -> Iterator[tuple[str, str]]:
    progress = summary.progress
    yield "embedded", _embedded(progress)
    if summary.is_complete and not (progress.embedded + progress.resumed + progress.failed):
        yield "", "the sources have no inputs"
    if progress.resumed:
        yield "complete before", _inputs(progress.resumed)
    if progress.duplicates:
        yield "duplicates", f"{_inputs(progress.duplicates)} with the key and content of another one"
    if summary.failures:
        yield "failed", f"{_inputs(summary.failures.total())}: {by_name(summary.reasons)}"
        yield "", f"{output / 'failures.jsonl'} has a line for each"
    if summary.ignored:
        yield "ignored", ignored(summary.ignored)
    if summary.parts:
        yield "vectors", f"{output / 'embeddings'}, {count(summary.parts, 'file')}"
    if not summary.is_complete:
        again = "correct the fault, then run" if exit_code == exit_codes.REQUEST else "run"
        yield "not complete", f"{again} the same command again: what is embedded is not sent again"
    elif exit_code == exit_codes.REQUEST and summary.reasons.keys() - _OF_SOURCE:
        yield "to try again", "correct the inputs; --retry-failed also sends unchanged ones"


def _embedded(progress: Progress) -> str:
    rates = [rate(progress.embedded / progress.seconds)] if progress.embedded and progress.seconds else []
    took = f"in {durations.show(progress.seconds)}"
    return ", ".join([_inputs(progress.embedded), count(progress.segments, "vector"), took, *rates])


def ignored(suffixes: Counter[str]) -> str:
    """Return the number of files that are not read, by suffix."""
    kinds = ", ".join(f"{number:,} {suffix}" for suffix, number in suffixes.most_common())
    return f"{count(suffixes.total(), 'file')} of other types: {kinds}"


def by_name(counts: Counter[str]) -> str:
    """Return counts with their names, the largest first."""
    return ", ".join(f"{number:,} {name}" for name, number in counts.most_common())


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with a noun."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _inputs(number: int) -> str:
    return count(number, "input")


def exit_code(summary: Summary, stopped: int) -> int:
    """Return the exit code.

    Args:
        summary: the summary.
        stopped: exit code of the signal that stopped the batch; 0 without one.
    """
    if stopped and not summary.is_complete:
        return stopped
    if summary.error is not None:
        return exit_codes.for_failure(summary.error.failure)
    code = exit_codes.combined({exit_codes.for_failure(failure) for failure in summary.failures})
    return code if code or summary.is_complete else exit_codes.RETRY_LATER
