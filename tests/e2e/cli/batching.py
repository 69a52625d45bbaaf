"""What `embedwire batch` wrote."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.dataset

TEXTS = ("a red fox", "a blue bird", "a green frog")


def rows(output: Path) -> list[dict[str, Any]]:
    """The rows of all parts."""
    found: list[dict[str, Any]] = (
        pyarrow.dataset.dataset(output / "embeddings", format="parquet").to_table().to_pylist()
    )
    return found


def keys(output: Path) -> Counter[str]:
    """The number of rows of each key."""
    return Counter(row["key"] for row in rows(output))


def failed(output: Path) -> dict[str, dict[str, Any]]:
    """The lines of failures.jsonl by key."""
    lines = (json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines())
    return {line["key"]: line for line in lines}


def write_texts(path: Path, texts: Sequence[str] = TEXTS) -> Path:
    """Write JSON lines of texts with the keys t0, t1 and so on."""
    lines = [json.dumps({"key": f"t{index}", "text": text}) for index, text in enumerate(texts)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
