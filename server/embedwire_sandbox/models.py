"""Table of the models that the sandbox imitates.

It is independent of the gateway's table, so that tests detect a mistake in either. Sources: upstream API notes,
section 6 (limits) and section 7 (spellings).
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

Modality = Literal["text", "image", "audio"]
MODALITIES: Final[tuple[Modality, ...]] = get_args(Modality)
Category = Literal["text", "image", "audio", "asset"]  # of the rate limits: modalities, and uploads

_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        name: The canonical spelling, which replies echo.
        aliases: Further spellings, accepted unless the sandbox is strict.
        dimensions: Length of every vector.
        max_tokens: Text limit, in tokens as `text.count_tokens` counts them.
        min_image_side: Smallest width and height of an image, in pixels.
        max_image_bytes: Largest encoded image, in bytes.
        window_sec: Length of an audio window: exact for `fixed`, aimed at otherwise.
        segmentation: `fixed` windows with a shorter last one, or `even` windows that are all alike.
        honours_truncate: Whether the model supports `text_truncate`.
    """

    name: str
    aliases: tuple[str, ...]
    dimensions: int
    max_tokens: int
    min_image_side: int
    max_image_bytes: int
    window_sec: float
    segmentation: Literal["even", "fixed"]
    honours_truncate: bool


MARENGO_27: Final = Model(
    name="Marengo-retrieval-2.7",
    aliases=("marengo-retrieval-2.7", "marengo2.7"),
    dimensions=1024,
    max_tokens=77,
    min_image_side=64,
    max_image_bytes=5 * _MB,
    window_sec=10.0,
    segmentation="even",
    honours_truncate=True,
)
MARENGO_30: Final = Model(
    name="marengo3.0",
    aliases=(),
    dimensions=512,
    max_tokens=500,
    min_image_side=128,
    max_image_bytes=32 * _MB,
    window_sec=6.0,
    segmentation="fixed",
    honours_truncate=False,
)

MARENGO_35: Final = Model(
    name="marengo3.5",
    aliases=(),
    dimensions=512,
    max_tokens=2_000,
    min_image_side=128,
    max_image_bytes=32 * _MB,
    window_sec=2.0,
    segmentation="fixed",
    honours_truncate=False,
)


def find_model(name: str, *, strict: bool, retire_marengo_27: bool) -> Model | None:
    """Return the model of that name in the v1 dialect, or `None` if there is none (any more)."""
    for model in (MARENGO_30,) if retire_marengo_27 else (MARENGO_27, MARENGO_30):
        if name == model.name or (name in model.aliases and not strict):
            return model
    return None
