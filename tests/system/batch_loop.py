"""A hand-tuned loop over the client, as a user would write it: the texts of JSON lines, and their vectors as an array.

python -m tests.system.batch_loop map|threads TEXTS.jsonl VECTORS.npy TARGET
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from embedwire import Client, Embedding, Text
from embedwire.vectors import Vector

MODEL = "marengo3.0"
INPUTS_PER_CALL, CALLS = 32, 8


def mapped(client: Client, texts: Iterator[Text]) -> list[Vector]:
    """Use `map`, the vectors in the order in which they arrive."""
    run = client.map(MODEL, texts, inputs_per_call=INPUTS_PER_CALL, concurrent_calls=CALLS)
    return [embedding.vector for embedding in run]


def threaded(client: Client, texts: Iterator[Text]) -> list[Vector]:
    """Use threads that embed many texts in each call."""

    def embed(some: list[Text]) -> list[Embedding]:
        return client.embed(MODEL, some)

    with ThreadPoolExecutor(CALLS) as pool:
        answers = pool.map(embed, iter(lambda: list(islice(texts, INPUTS_PER_CALL)), []))
        return [embedding.vector for answer in answers for embedding in answer]


def main(kind: str, texts: str, vectors: str, target: str) -> None:
    """Embed the texts of a file."""
    with Path(texts).open() as file, Client(target) as client:
        inputs = (Text(json.loads(line)["text"]) for line in file)
        np.save(vectors, np.asarray({"map": mapped, "threads": threaded}[kind](client, inputs)))


if __name__ == "__main__":
    main(*sys.argv[1:])
