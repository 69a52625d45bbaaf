"""A batch that a test kills: python -m tests.programs.killed_batch TARGET FOLDER texts|task COUNT."""

import sys
from pathlib import Path

from embedwire import Audio, Client
from embedwire.batch import Batch, BatchOptions, Record
from tests.e2e.client_batch.support import MODEL, Listed, texts
from tests.support.media import wav


def main(target: str, folder: str, kind: str, count: int) -> None:
    sound = Audio(data=wav(8), file_name="a.wav", processing_mode="task")
    entries = texts(count) if kind == "texts" else [Record("sound", sound, 1, "1")]
    options = BatchOptions(inputs_per_call=4, concurrent_calls=4, part_rows=40)
    with Client(target) as client:
        assert Batch(client, MODEL, Listed(entries), Path(folder), options).run().is_complete


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
