"""Table of models and of the inputs that each accepts. Operators can extend it in the configuration.

The facts are those of the upstream API notes, sections 6 and 7.
"""

import dataclasses
import enum
from collections.abc import Iterable, Iterator

MIB = 1 << 20


class Modality(enum.StrEnum):
    """Kind of an input; also a label of the metrics."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


class Truncate(enum.StrEnum):
    """End at which a too long text is truncated; the values are the upstream's."""

    NONE = "none"
    START = "start"
    END = "end"


@dataclasses.dataclass(frozen=True, slots=True)
class TextRules:
    """Limits of text inputs of a model.

    `truncates` lists the supported values; `sends_truncate` is whether the request contains the parameter
    (newer models truncate the end automatically and may reject it).
    """

    max_tokens: int
    truncates: tuple[Truncate, ...]
    sends_truncate: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRules:
    """Limits of image inputs of a model: bytes and pixels."""

    max_bytes: int
    min_side_px: int
    media_types: tuple[str, ...] = ("image/jpeg", "image/png")


@dataclasses.dataclass(frozen=True, slots=True)
class AudioRules:
    """Limits of audio inputs of a model. `max_bytes` None: the upstream states no limit."""

    max_bytes: int | None = None
    media_types: tuple[str, ...] = ("audio/flac", "audio/mpeg", "audio/wav")


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """Row of the model table. `name` is sent to the upstream, also if the caller used an alias."""

    name: str
    dimensions: int
    aliases: tuple[str, ...] = ()
    text: TextRules | None = None
    image: ImageRules | None = None
    audio: AudioRules | None = None
    endpoint: str = "/embed"

    def takes(self, modality: Modality) -> bool:
        """Whether the model supports this modality."""
        return getattr(self, modality) is not None


MARENGO_27 = Model(
    name="Marengo-retrieval-2.7",
    aliases=("marengo-retrieval-2.7", "marengo2.7"),
    dimensions=1024,
    text=TextRules(77, (Truncate.NONE, Truncate.START, Truncate.END), sends_truncate=True),
    image=ImageRules(max_bytes=5 * MIB, min_side_px=64),
    audio=AudioRules(),
)
MARENGO_30 = Model(
    name="marengo3.0",
    dimensions=512,
    text=TextRules(500, (Truncate.END,)),
    image=ImageRules(max_bytes=32 * MIB, min_side_px=128),
    audio=AudioRules(),
)
BUILT_IN = (MARENGO_30, MARENGO_27)


class ModelTable:
    """Models by name and alias; names are case-sensitive.

    Args:
        models: the rows. A later row replaces an earlier one of the same name.

    Raises:
        ValueError: two models share a name or alias, or one has no name, no dimensions or no valid endpoint.
    """

    def __init__(self, models: Iterable[Model] = BUILT_IN) -> None:
        self._models = {model.name: model for model in models}
        for name, model in self._models.items():
            if not name or model.dimensions < 1 or not model.endpoint.startswith("/"):
                raise ValueError(f"model {name!r} must have a name, dimensions and an endpoint that begins with /")
        self._by_spelling: dict[str, Model] = {}
        for model in self._models.values():
            for spelling in (model.name, *model.aliases):
                if self._by_spelling.setdefault(spelling, model) is not model:
                    raise ValueError(f"two models are called {spelling!r}")

    def find(self, name: str) -> Model | None:
        """Return the model of this name or alias, or None."""
        return self._by_spelling.get(name)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)
