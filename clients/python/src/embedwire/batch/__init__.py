"""Batches: any number of inputs of a source, embedded into files, which can be stopped and resumed.

`Batch` runs one: `feed` reads the source into `Client.map`, `receiver` commits each embedding to the `ledger` (a
`database` of SQLite, with the `rows` that are in no part yet), and `output` writes the parts. `dispositions` decides
about failures, `outage` detects that all inputs fail.

The extra `embedwire[batch]` installs what it needs.
"""

from embedwire.batch.errors import BatchError, OutputInUseError, OutputMismatchError
from embedwire.batch.options import BatchOptions, Summary
from embedwire.batch.progress import Progress
from embedwire.batch.records import InvalidRecord, Record, Source
from embedwire.batch.run import Batch
from embedwire.batch.sources import Columns, read

__all__ = [
    "Batch",
    "BatchError",
    "BatchOptions",
    "Columns",
    "InvalidRecord",
    "OutputInUseError",
    "OutputMismatchError",
    "Progress",
    "Record",
    "Source",
    "Summary",
    "read",
]
