"""Result of a call or a task in the v2 dialect, and its JSON."""

import json
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embedwire_sandbox.faults.injection import InjectedFault
from embedwire_sandbox.media.vectors import Vector, numbers


@dataclass(frozen=True, slots=True)
class Item:
    """One vector, with its option, scope and times in seconds; those are `None` for text and images."""

    vector: Vector
    option: str | None = None
    scope: str | None = None
    start_sec: float | None = None
    end_sec: float | None = None
    uncertainty: Vector | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Result.

    Attributes:
        items: The vectors.
        metadata: Metadata of the media; `None` for text.
        usage: Tokens; of Marengo 3.5 only.
    """

    items: Sequence[Item]
    metadata: Mapping[str, Any] | None = field(default=None, repr=False)
    usage: Mapping[str, Any] | None = None


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """Return the items in another order, the same one for each call with as many items."""
    mixed = list(items)
    random.Random(seed).shuffle(mixed)  # noqa: S311 - no secret
    return mixed


async def pieces(
    embeddings: Embeddings, fault: InjectedFault, head: Mapping[str, Any] | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the JSON in pieces: the members of `head`, then those of the result."""
    lead = json.dumps(dict(head or {}))[:-1]
    comma = "," if head else ""
    if not fault.omits_vectors:
        yield f'{lead}{comma}"data":['.encode()
        for index, item in enumerate(embeddings.items):
            yield (b"," if index else b"") + _item(item, fault)
        yield b"]"
        lead, comma = "", ","
    for name, value in (("metadata", embeddings.metadata), ("usage", embeddings.usage)):
        if value is not None:
            yield f'{lead}{comma}"{name}":{json.dumps(value)}'.encode()
            lead, comma = "", ","
    yield f"{lead}}}".encode()


def _item(item: Item, fault: InjectedFault) -> bytes:
    parts = [f'"embedding":[{numbers(fault.changed(item.vector))}]']
    if item.uncertainty is not None:
        parts.append(f'"embedding_uncertainty":[{numbers(item.uncertainty)}]')
    rest = {
        "embedding_option": item.option,
        "embedding_scope": item.scope,
        "start_sec": item.start_sec,
        "end_sec": item.end_sec,
    }
    return f"{{{','.join(parts)},{json.dumps(rest)[1:]}".encode()
