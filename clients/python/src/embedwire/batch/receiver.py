"""Receiver of the embeddings of a batch: it commits each of them, and decides about the failed ones."""

import dataclasses
import re

from embedwire.batch.dispositions import Disposition, disposition, has_reached_server
from embedwire.batch.failures_file import FailedInput
from embedwire.batch.feed import Feed
from embedwire.batch.options import BatchOptions
from embedwire.batch.outage import OpenInput, backoff
from embedwire.batch.output import Output
from embedwire.batch.progress import Tally
from embedwire.errors import EmbedwireError, Failure
from embedwire.results import Embedding, Progress

_POSITION = re.compile(r"^inputs\[\d+\]\.?")
_OK = 200


class Receiver:
    """Receiver of one run.

    Args:
        feed: the inputs of the run.
        output: the output.
        tally: counters of the progress.
        options: options of the batch.

    Attributes:
        error: failure of all inputs, which ends the run; None if there is none.
    """

    def __init__(self, feed: Feed, output: Output, tally: Tally, options: BatchOptions) -> None:
        self.error: EmbedwireError | None = None
        self._feed = feed
        self._output = output
        self._ledger = output.ledger
        self._tally = tally
        self._options = options

    def progress(self, event: Progress) -> None:
        """Commit the identifier of a task. Called in threads of the run."""
        if event.upstream_task_id:
            self._set_task(self._feed.get(event.input_index), event.upstream_task_id)

    def receive(self, embedding: Embedding) -> None:
        """Handle the end of an input.

        Raises:
            OutputMismatchError: the result is not comparable with those in the output.
            OSError: the output cannot be written.
        """
        position = embedding.result.input_index
        if embedding.failure is not None:
            self._failed(position, embedding, embedding.failure)
            return
        self._output.check(embedding.result)
        self._ledger.embedded(self._feed.get(position).record, embedding)
        self._feed.embedded(position)
        self._tally.add("embedded")
        self._tally.add("segments", len(embedding.segments))
        self._output.write_full_part()

    def _failed(self, position: int, embedding: Embedding, failure: Failure) -> None:
        item = self._feed.get(position)
        if item.task_id and failure.reason == "UPSTREAM_TASK_NOT_FOUND":
            self._set_task(item, "")
            self._send_again(position, 0.0)
            return
        if failure.upstream_task_id:
            self._set_task(item, failure.upstream_task_id)
        decision = disposition(failure)
        if decision is Disposition.PERMANENT:
            self._end(position, embedding, failure, is_temporary=False)
            return
        reason = failure.reason or failure.code
        item = self._feed.failed_for_now(position, reason, has_reached_server=has_reached_server(failure))
        if decision is Disposition.STOP or self._feed.failing_seconds > self._options.outage_timeout:
            self.error = self.error or failure.error(embedding.result.request_id, embedding.result.attempts)
            self._feed.stop()
        if item.attempts >= self._options.max_attempts and not self._feed.is_stopped:
            self._end(position, embedding, failure, is_temporary=True)
        else:
            self._send_again(position, backoff(item, failure.retry_delay))

    def _send_again(self, position: int, delay: float) -> None:
        """Send an input again; after a stop it stays open, for the next run."""
        if not self._feed.is_stopped:
            self._tally.add("retries")
        self._feed.send_again(position, delay)

    def _end(self, position: int, embedding: Embedding, failure: Failure, *, is_temporary: bool) -> None:
        item = self._feed.get(position)
        if failure.upstream is not None and failure.upstream.http_status == _OK:
            self._set_task(item, "")  # the task itself has failed, and would fail again
        self._ledger.failed(item.record, _failed_input(item, embedding, failure, is_temporary=is_temporary))
        self._feed.failed(position, has_reached_upstream=failure.upstream is not None and not is_temporary)
        self._tally.add("failed")

    def _set_task(self, item: OpenInput, task_id: str) -> None:
        if item.task_id != task_id:
            self._ledger.set_task(item.record, task_id)
            item.task_id = task_id


def _failed_input(item: OpenInput, embedding: Embedding, failure: Failure, *, is_temporary: bool) -> FailedInput:
    """Return the line of the failures file, without the position of the input, which has no meaning in it."""
    return FailedInput(
        key=item.record.key,
        modality=item.record.modality,
        reason=failure.reason,
        code=failure.code,
        message=_POSITION.sub("", failure.message),
        fields=tuple(dataclasses.replace(each, field=_POSITION.sub("", each.field)) for each in failure.violations),
        attempts=item.calls,
        request_id=embedding.result.request_id,
        upstream_task_id=item.task_id,
        is_temporary=is_temporary,
    )
