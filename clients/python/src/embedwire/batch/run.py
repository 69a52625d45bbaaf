"""Runs of a batch: from a source through `Client.map` to an output."""

import contextlib
import os
import threading
from pathlib import Path

from embedwire import models
from embedwire.batch.feed import Feed
from embedwire.batch.options import BatchOptions, Summary
from embedwire.batch.output import Output
from embedwire.batch.progress import Progress, Tally
from embedwire.batch.receiver import Receiver
from embedwire.batch.records import Source
from embedwire.client import Client
from embedwire.map.threads import MapRun


class Batch:
    """One run of a batch. A later one with the same output continues it.

    If the process is killed at any instant, the next run sends only those inputs again whose answer the ended process
    had not received: at most `inputs_per_call` x `concurrent_calls`. Each input is in the parts once. After a power
    failure or a crash of the operating system the same holds, but answers that arrived since the last synchronisation
    with the disk may be missing as well (about 16 MiB of vectors, at most one part); the output is never inconsistent.

    Args:
        client: client of the server; it is not closed.
        model: name or alias of the model.
        source: the inputs.
        output: folder of the output. It has `embeddings/` with the part files, `failures.jsonl` and `ledger.sqlite`.
        options: options of the batch.
    """

    def __init__(
        self,
        client: Client,
        model: str,
        source: Source,
        output: str | os.PathLike[str],
        options: BatchOptions | None = None,
    ) -> None:
        self._client = client
        self._model = model
        self._source = source
        self._folder = Path(output)
        self._options = options or BatchOptions()
        self._tally = Tally()
        self._feed: Feed | None = None
        self._map: MapRun | None = None
        self._is_stopped = False

    def run(self) -> Summary:
        """Embed all inputs that are not complete. May be called once.

        Returns:
            The summary, also if a failure of all inputs has ended the run.

        Raises:
            OutputInUseError: another process writes to the output.
            OutputMismatchError: the output was written with another model, other settings or another upstream.
            EmbedwireError: the server cannot be reached, rejects the client, or does not have the model; before any
                input is read.
            OSError: the source cannot be read or the output cannot be written. What was embedded until then is kept.
        """
        model = models.find(self._client.models(), self._model)
        self._tally.begin()
        with Output(self._folder, model, self._options) as output:
            threading.Thread(target=self._count, name="embedwire-batch-count", daemon=True).start()
            receiver = self._receive_all(output, model.name)
            self._tally.end()
            return Summary(
                progress=self.progress,
                is_complete=receiver.error is None and self._feed is not None and self._feed.is_complete,
                failures=output.ledger.failures.count(),
                ignored=self._source.ignored,
                error=receiver.error,
                parts=output.number_of_parts,
            )

    def stop(self) -> None:
        """Read no further input. `run` then waits for the inputs that were sent, saves their results, and returns.

        Can be called from any thread and from a signal handler.
        """
        self._is_stopped = True
        if self._feed is not None and self._feed.stop() and self._map is not None:
            self._map.close()  # the source may block

    @property
    def progress(self) -> Progress:
        """Snapshot of the progress; from any thread."""
        feed = self._feed
        if feed is None:
            return self._tally.snapshot()
        return self._tally.snapshot(in_flight=feed.in_flight, waiting=feed.waiting_seconds, reason=feed.outage_reason)

    def _count(self) -> None:
        """Count the entries of the source, which may take as long as many calls."""
        with contextlib.suppress(Exception):  # the iteration raises it
            self._tally.total = self._source.count()

    def _receive_all(self, output: Output, model: str) -> Receiver:
        """Embed the inputs; write the rows of all that were embedded, also after an error."""
        options = self._options
        feed = Feed(self._source, output.ledger, self._tally, options.prepare, 2 * options.window)
        receiver = Receiver(feed, output, self._tally, options)
        with contextlib.ExitStack() as stack:
            stack.callback(feed.stop)  # before the run is closed: its thread may wait in the feed
            run = stack.enter_context(self._client.map(model, feed, on_progress=receiver.progress, **options.of_map))
            self._map, self._feed = run, feed
            if self._is_stopped:
                feed.stop()
            try:
                for embedding in run:
                    receiver.receive(embedding)
                    if feed.is_over:
                        break  # the source may block
            finally:
                output.write()
        return receiver
