"""Results of an upstream for one input: segments and a summary."""

import dataclasses
import enum


@dataclasses.dataclass(slots=True)
class Segment:
    """Vector of one input, in the upstream's order.

    `vector` is packed float32, little-endian, 4 bytes a value, every value finite. Offsets are
    seconds from the beginning of the file, and `embedding_option` and `embedding_scope` are the
    upstream's values; all only for audio. `uncertainty` is packed like the vector.
    """

    vector: bytes = dataclasses.field(repr=False)
    start_offset_sec: float | None = None
    end_offset_sec: float | None = None
    embedding_option: str = ""
    embedding_scope: str = ""
    uncertainty: bytes | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(slots=True)
class ReplySummary:
    """Data that the upstream returned for an input besides its segments."""

    model_name: str
    input_url: str | None = dataclasses.field(default=None, repr=False)
    input_filename: str | None = dataclasses.field(default=None, repr=False)
    truncated: bool | None = None
    media_duration_sec: float | None = None
    input_tokens: dict[str, int] | None = None


class Stage(enum.Enum):
    """Stage of an input that the upstream processes as an asset or a task."""

    UPLOADING = "uploading"
    PREPARING = "preparing"
    PROCESSING = "processing"


class CacheStatus(enum.StrEnum):
    """How the result of an input came about, if results are cached or requests are coalesced."""

    HIT = "hit"  # from the cache
    COALESCED = "coalesced"  # from the upstream request of an identical input that was in flight
    MISS = "miss"  # from an upstream request of its own
