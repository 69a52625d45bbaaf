"""Table of models and of the inputs that each accepts. Operators can extend it in the configuration.

The facts are those of the upstream API notes, sections 6, 7, 11 and 12.
"""

import dataclasses
import enum
from collections.abc import Iterable, Iterator
from typing import Literal

MIB = 1 << 20
MINUTE = 60.0
HOUR = 3600.0


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


class ApiVersion(enum.StrEnum):
    """Version of the upstream's Embed API."""

    V1 = "v1"
    V2 = "v2"


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
    """Limits of audio inputs of a model, and what can be selected for them.

    Attributes:
        max_bytes: the largest file; None: the upstream states no limit.
        media_types: the supported formats.
        max_sync_seconds: the longest file of a synchronous request; None: not known.
        max_sync_bytes: the largest file of a synchronous request, if that is less; None: `max_bytes`.
        max_task_seconds: the longest file of a task; None: not known.
        has_tasks: whether the upstream can process audio as a task.
        segments_need_task: whether a synchronous request returns one vector of the whole file, without segments.
        options: embedding options, all of which are the default; without any, the option cannot be selected.
        scopes: embedding scopes; the default is "clip".
        types: embedding types; the default is "separate_embedding".
        fixed_segmentation: shortest and longest fixed window in seconds; None: not supported.
        dynamic_segmentation: shortest and longest minimum of a dynamic window; None: not supported.
        default_segmentation: method and seconds that are sent if the caller selects none.
    """

    max_bytes: int | None = None
    media_types: tuple[str, ...] = ("audio/flac", "audio/mpeg", "audio/wav")
    max_sync_seconds: float | None = None
    max_sync_bytes: int | None = None
    max_task_seconds: float | None = None
    has_tasks: bool = False
    segments_need_task: bool = False
    options: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    fixed_segmentation: tuple[int, int] | None = None
    dynamic_segmentation: tuple[int, int] | None = None
    default_segmentation: tuple[Literal["fixed", "dynamic"], int] = ("fixed", 6)


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """Row of the model table.

    Attributes:
        name: sent to the upstream, also if the caller used an alias.
        dimensions: number of values of a vector; the default if there are several.
        aliases: other names.
        text: limits of texts; None: the model does not accept them.
        image: limits of images.
        audio: limits of audio.
        endpoint: path of the endpoint of the v1 API.
        api_versions: versions of the API that have the model.
        supported_dimensions: all numbers of values that a caller can select; empty: only `dimensions`.
        supports_uncertainty: whether the upstream returns the uncertainty of a vector.
        is_composite: whether every synchronous request of the v2 API is a composition of named parts (multi_input).
        upstreams: names of the upstreams that have the model; empty: not known.
        because: why the row supports less than the model, for error messages; empty or in parentheses.
    """

    name: str
    dimensions: int
    aliases: tuple[str, ...] = ()
    text: TextRules | None = None
    image: ImageRules | None = None
    audio: AudioRules | None = None
    endpoint: str = "/embed"
    api_versions: tuple[ApiVersion, ...] = (ApiVersion.V1,)
    supported_dimensions: tuple[int, ...] = ()
    supports_uncertainty: bool = False
    is_composite: bool = False
    upstreams: tuple[str, ...] = ()
    because: str = ""

    @property
    def has_v2(self) -> bool:
        """Whether the model can be used with the v2 API."""
        return ApiVersion.V2 in self.api_versions

    def on(self, version: ApiVersion) -> "Model":
        """Return the row as this version of the API supports it; unchanged if that does not have the model."""
        if version not in self.api_versions or len(self.api_versions) == 1:
            return self
        if version is ApiVersion.V2:
            return dataclasses.replace(self, api_versions=(version,))
        audio = self.audio and AudioRules(
            self.audio.max_bytes, self.audio.media_types, max_sync_seconds=self.audio.max_sync_seconds
        )
        return dataclasses.replace(
            self, audio=audio, api_versions=(version,), because=f" (upstream.api_version is {version})"
        )

    def with_dimensions(self, dimensions: int) -> "Model":
        """Return the row with this number of values."""
        return self if dimensions == self.dimensions else dataclasses.replace(self, dimensions=dimensions)

    def takes(self, modality: Modality) -> bool:
        """Whether the model supports this modality."""
        return getattr(self, modality) is not None


MARENGO_27 = Model(
    name="Marengo-retrieval-2.7",
    aliases=("marengo-retrieval-2.7", "marengo2.7"),
    dimensions=1024,
    text=TextRules(77, (Truncate.NONE, Truncate.START, Truncate.END), sends_truncate=True),
    image=ImageRules(max_bytes=5 * MIB, min_side_px=64),
    audio=AudioRules(max_sync_seconds=10 * MINUTE),
    upstreams=("sandbox",),  # TwelveLabs ended it on 2026-03-30
)
MARENGO_30 = Model(
    name="marengo3.0",
    dimensions=512,
    text=TextRules(500, (Truncate.END,)),
    image=ImageRules(max_bytes=32 * MIB, min_side_px=128),
    audio=AudioRules(
        max_sync_seconds=10 * MINUTE,
        max_task_seconds=4 * HOUR,
        has_tasks=True,
        options=("audio", "transcription"),
        scopes=("clip", "asset"),
        types=("separate_embedding", "fused_embedding"),
        fixed_segmentation=(2, 10),
        dynamic_segmentation=(2, 5),
        default_segmentation=("fixed", 6),
    ),
    api_versions=(ApiVersion.V1, ApiVersion.V2),
    upstreams=("twelvelabs", "sandbox"),
)
MARENGO_35 = Model(
    name="marengo3.5",
    dimensions=512,
    text=TextRules(2000, (Truncate.NONE, Truncate.END), sends_truncate=True),
    image=ImageRules(max_bytes=32 * MIB, min_side_px=128),
    audio=AudioRules(
        max_sync_seconds=30,
        max_sync_bytes=32 * MIB,
        has_tasks=True,
        segments_need_task=True,
        options=("audio",),
        scopes=("clip", "asset"),
        fixed_segmentation=(2, 10),
        dynamic_segmentation=(2, 5),
        default_segmentation=("dynamic", 2),
    ),
    api_versions=(ApiVersion.V2,),
    supported_dimensions=(128, 256, 512),
    supports_uncertainty=True,
    is_composite=True,
    upstreams=("twelvelabs", "sandbox"),
)
BUILT_IN = (MARENGO_30, MARENGO_35, MARENGO_27)


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
            if not name or model.dimensions < 1 or not model.endpoint.startswith("/") or not model.api_versions:
                raise ValueError(
                    f"model {name!r} must have a name, dimensions, API versions and an endpoint that begins with /"
                )
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
