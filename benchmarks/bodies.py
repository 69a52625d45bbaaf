"""The canned replies: valid JSON in the upstream's format, always the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 1024
MODEL = "Marengo-retrieval-2.7"
TWO_HOURS = 720  # segments of 10 s; 10 MB
LONG = 1950  # segments; 27 MB
TASK_MODEL, TASK_DIMENSIONS = "marengo3.0", 512
TASK = 4320  # segments of a task: two options for each of 3.6 hours in windows of 6 s; 30 MB
_SECONDS = 10
_TASK_SECONDS, _TASK_OPTIONS = 6.0, ("audio", "transcription")


def vectors(segments: int, dimensions: int = DIMENSIONS) -> NDArray[np.float64]:
    """Return numbers with nine significant digits, as the upstream writes them."""
    drawn = np.random.default_rng(segments).normal(0, 1 / 32, (segments, dimensions))
    return np.array([float(f"{number:.9g}") for number in drawn.ravel()]).reshape(drawn.shape)


def text() -> bytes:
    """Return a reply with one vector."""
    return _reply("text", [{"float": vectors(1)[0].tolist()}])


def audio(segments: int) -> bytes:
    """Return a reply with this many vectors and their times."""
    return _reply(
        "audio",
        [
            {
                "float": vector.tolist(),
                "start_offset_sec": index * _SECONDS,
                "end_offset_sec": (index + 1) * _SECONDS,
                "embedding_option": "audio",
            }
            for index, vector in enumerate(vectors(segments))
        ],
    )


def task(segments: int) -> bytes:
    """Return a task with its result; its segments are in no order, as the upstream may send them."""
    elements = [
        {
            "embedding": vector.tolist(),
            "embedding_option": _TASK_OPTIONS[index % 2],
            "embedding_scope": "clip",
            "start_sec": index // 2 * _TASK_SECONDS,
            "end_sec": (index // 2 + 1) * _TASK_SECONDS,
        }
        for index, vector in enumerate(vectors(segments, TASK_DIMENSIONS))
    ]
    np.random.default_rng(0).shuffle(elements)
    return _json({"_id": "long", "status": "ready", "data": elements})


def openai() -> bytes:
    """Return the vector of `text` in the format of OpenAI's API."""
    data = [{"object": "embedding", "index": 0, "embedding": vectors(1)[0].tolist()}]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return _json({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage})


def write(directory: Path) -> None:
    """Write all replies into files."""
    replies = {"text": text(), "audio": audio(TWO_HOURS), "short": audio(1), "long": audio(LONG), "openai": openai()}
    for name, reply in replies.items():
        (directory / f"{name}.json").write_bytes(reply)


def _reply(modality: str, segments: list[dict[str, Any]]) -> bytes:
    return _json({"model_name": MODEL, f"{modality}_embedding": {"segments": segments}})


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
