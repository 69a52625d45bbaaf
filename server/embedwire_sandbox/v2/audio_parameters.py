"""Parameters of audio in the v2 dialect: section, segmentation, options, scopes and types of vectors."""

from dataclasses import dataclass
from typing import Final, Literal

from embedwire_sandbox.bodies.json_members import Members
from embedwire_sandbox.errors import invalid, missing
from embedwire_sandbox.v2.models import Limits
from embedwire_sandbox.v2.sources import Source, read_source

Strategy = Literal["fixed", "dynamic"]

_OPTIONS: Final = ("audio", "transcription")
_TYPES: Final = ("separate_embedding", "fused_embedding")
_DYNAMIC: Final = range(1, 6)


@dataclass(frozen=True, slots=True)
class Segmentation:
    """How audio is divided: `fixed` windows of `seconds`, or `dynamic` ones of at least `seconds`."""

    strategy: Strategy
    seconds: float


@dataclass(frozen=True, slots=True)
class TimedText:
    """Text of the caller that belongs to a section of the audio, in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class AudioParameters:
    """Validated parameters of audio.

    Attributes:
        source: Where it is.
        start_sec: Start of the section to embed.
        end_sec: End of the section to embed; `None` is the end of the file.
        segmentation: How it is divided.
        options: Options, in the order of the request.
        scopes: Scopes, in the order of the request.
        separate: Whether to return a vector for each option.
        fused: Whether to return a vector for all options together.
        texts: Texts that are part of fused vectors.
        whole: Whether the audio gets one vector without times, instead of all of the above.
    """

    source: Source
    start_sec: float | None = None
    end_sec: float | None = None
    segmentation: Segmentation = Segmentation("fixed", 6)
    options: tuple[str, ...] = _OPTIONS
    scopes: tuple[str, ...] = ("clip", "asset")
    separate: bool = True
    fused: bool = False
    texts: tuple[TimedText, ...] = ()
    whole: bool = False


def read_audio(members: Members, limits: Limits, *, task: bool) -> AudioParameters:
    """Read the object `audio`.

    Args:
        members: Its members.
        limits: Limits of the model.
        task: Whether it is the object of a task.

    Raises:
        RefusalError: A parameter is invalid.
    """
    media = members.object("media_source")
    if media is None:
        raise missing(members.path("media_source"))
    source = read_source(media)
    media.end()
    start, end = members.number("start_sec"), members.number("end_sec")
    if start is not None and start < 0:
        raise invalid(members.path("start_sec"), "It has to be at least 0.")
    if end is not None and end <= (start or 0):
        raise invalid(members.path("end_sec"), "It has to be greater than start_sec.")
    segmentation = _segmentation(members, limits)
    allowed = _OPTIONS[:1] if limits.is_newer else _OPTIONS
    options = members.strings("embedding_option", allowed) or allowed
    scopes = members.strings("embedding_scope", ("clip", "asset", *(("local",) if limits.is_newer else ())))
    types = members.strings("embedding_type", _TYPES)
    texts = _texts(members) if task and limits.is_newer else ()
    members.end()
    _check_types(members, limits, types, options, texts)
    return AudioParameters(
        source,
        start,
        end,
        segmentation,
        tuple(options),
        scopes or ("clip", "asset"),
        separate=types is None or "separate_embedding" in types,
        fused=types is not None and "fused_embedding" in types,
        texts=texts,
    )


def _check_types(
    members: Members,
    limits: Limits,
    types: tuple[str, ...] | None,
    options: tuple[str, ...],
    texts: tuple[TimedText, ...],
) -> None:
    fused = types is not None and "fused_embedding" in types
    path = members.path("embedding_type")
    if not limits.is_newer and types is not None and len(options) < 2:  # noqa: PLR2004
        raise invalid(path, "Use it only if embedding_option has at least two values.")
    if limits.is_newer and fused and not texts:
        raise invalid(path, "The value fused_embedding requires time_based_metadata.")
    if texts and not fused:
        raise invalid(members.path("time_based_metadata"), "It requires the embedding_type fused_embedding.")


def _segmentation(members: Members, limits: Limits) -> Segmentation:
    outer = members.object("segmentation")
    if outer is None:
        return Segmentation("dynamic", 2) if limits.is_newer else Segmentation("fixed", 6)
    inner: Members | None = outer
    if limits.is_newer:
        inner = outer.object("temporal")
        outer.end()
        if inner is None:
            raise missing(outer.path("temporal"))
    assert inner is not None  # noqa: S101 - for the type checker
    # Marengo 3.0 divides audio into fixed segments only.
    strategy = inner.string("strategy", ("dynamic", "fixed") if limits.is_newer else ("fixed",))
    if strategy is None:
        raise missing(inner.path("strategy"))
    settings = inner.object(strategy)
    inner.end()
    if settings is None:
        raise missing(inner.path(strategy))
    name = "duration_sec" if strategy == "fixed" else "min_duration_sec"
    first, last = limits.windows
    seconds = settings.integer(name, range(first, last + 1) if strategy == "fixed" else _DYNAMIC)
    settings.end()
    if seconds is None:
        raise missing(settings.path(name))
    return Segmentation("fixed" if strategy == "fixed" else "dynamic", seconds)


def _texts(members: Members) -> tuple[TimedText, ...]:
    found = []
    for entry in members.objects("time_based_metadata") or []:
        start, end, text = entry.number("start"), entry.number("end"), entry.string("text")
        entry.end()
        if start is None or end is None or not text:
            raise missing(entry.path("start, end or text"))
        if not 0 <= start <= end:
            raise invalid(entry.path("end"), "It has to be at least start, which has to be at least 0.")
        found.append(TimedText(start, end, text))
    return tuple(found)
