"""Dry run: what a source has, how long it takes under a quota, and what it costs. Nothing is sent."""

import dataclasses
from collections import Counter
from collections.abc import Callable

from embedwire.batch import duration
from embedwire.batch.records import InvalidRecord, Modality, Record, Source
from embedwire.inputs import Audio


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Limits of a plan of the upstream. None means unknown, 0 is invalid.

    Attributes:
        text: requests per minute of texts.
        image: requests per minute of images.
        audio: requests per minute of audio.
        audio_minutes: minutes of audio per minute.

    Raises:
        ValueError: a limit is not above 0.
    """

    text: float | None = None
    image: float | None = None
    audio: float | None = None
    audio_minutes: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                raise ValueError(f"{field.name}: must be above 0, got {value}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of the upstream, in any currency. None means unknown.

    Attributes:
        text: price of 1,000 texts.
        image: price of 1,000 images.
        audio: price of one minute of audio.

    Raises:
        ValueError: a price is negative.
    """

    text: float | None = None
    image: float | None = None
    audio: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and not value >= 0:
                raise ValueError(f"{field.name}: must be 0 or more, got {value}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is left to embed of a source.

    Attributes:
        inputs: number of inputs that are left, by modality. Each is one request of the upstream, without retries.
        bytes: their size, by modality; without files that the upstream fetches.
        complete: number of inputs that are complete.
        invalid: number of entries that are no inputs.
        ignored: number of files of unsupported types, by suffix.
        audio_seconds: duration of the audio.
        unknown_durations: number of audio files that are not in `audio_seconds`: their header has no duration, or the
            upstream fetches them.
        seconds: time under the quota, by modality; only those that are left and whose quota is known.
        cost: cost, by modality; only those that are left and whose price is known.
    """

    inputs: Counter[Modality]
    bytes: Counter[Modality]
    complete: int
    invalid: int
    ignored: Counter[str]
    audio_seconds: float
    unknown_durations: int
    seconds: dict[Modality, float]
    cost: dict[Modality, float]

    @property
    def requests(self) -> int:
        """Number of requests of the upstream, without retries."""
        return self.inputs.total()

    @property
    def least_seconds(self) -> float | None:
        """Time under the quota if the modalities are mixed in the source: that of the slowest; None if unknown."""
        return max(self.seconds.values(), default=0.0) if self._knows(self.seconds) else None

    @property
    def most_seconds(self) -> float | None:
        """Time under the quota if one modality follows the other in the source: the sum; None if unknown."""
        return sum(self.seconds.values()) if self._knows(self.seconds) else None

    @property
    def total_cost(self) -> float | None:
        """The whole cost; None if the price of a modality is unknown. Unknown durations cost more."""
        return sum(self.cost.values()) if self._knows(self.cost) else None

    def _knows(self, by_modality: dict[Modality, float]) -> bool:
        return by_modality.keys() == {modality for modality, number in self.inputs.items() if number}


def plan(
    source: Source,
    *,
    is_complete: Callable[[Record], bool] | None = None,
    quota: Quota | None = None,
    prices: Prices | None = None,
) -> Plan:
    """Read a whole source, and the headers of its audio files.

    Args:
        source: the source.
        is_complete: returns whether an input is complete, which is not counted then.
        quota: limits of the upstream.
        prices: prices of the upstream.

    Raises:
        OSError: the source cannot be read.
    """
    inputs: Counter[Modality] = Counter()
    sizes: Counter[Modality] = Counter()
    complete = invalid = unknown = 0
    audio_seconds = 0.0
    for record in source:
        if isinstance(record, InvalidRecord):
            invalid += 1
        elif is_complete is not None and is_complete(record):
            complete += 1
        else:
            inputs[record.modality] += 1
            sizes[record.modality] += record.size
            if isinstance(record.input, Audio):
                seconds = duration.seconds(record.input)
                unknown += seconds is None
                audio_seconds += seconds or 0.0
    return Plan(
        inputs=inputs,
        bytes=sizes,
        complete=complete,
        invalid=invalid,
        ignored=Counter(source.ignored),
        audio_seconds=audio_seconds,
        unknown_durations=unknown,
        seconds=_seconds(inputs, audio_seconds, quota or Quota()),
        cost=_cost(inputs, audio_seconds, prices or Prices()),
    )


def _seconds(inputs: Counter[Modality], audio_seconds: float, quota: Quota) -> dict[Modality, float]:
    found: dict[Modality, float] = {}
    for modality, number in inputs.items():
        limit: float | None = getattr(quota, modality)
        times = [] if limit is None else [number * 60 / limit]
        if modality == "audio" and quota.audio_minutes is not None:
            times.append(audio_seconds / quota.audio_minutes)
        if times:
            found[modality] = max(times)
    return found


def _cost(inputs: Counter[Modality], audio_seconds: float, prices: Prices) -> dict[Modality, float]:
    found: dict[Modality, float] = {}
    for modality, number in inputs.items():
        price: float | None = getattr(prices, modality)
        if price is not None:
            found[modality] = price * (audio_seconds / 60 if modality == "audio" else number / 1000)
    return found
