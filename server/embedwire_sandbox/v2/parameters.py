"""Parameters of `POST /embed-v2`, validated strictly: upstream API notes, section 11."""

import re
from dataclasses import dataclass, field
from typing import Final

from embedwire_sandbox.bodies.json_members import Members
from embedwire_sandbox.errors import invalid, missing
from embedwire_sandbox.models import MODALITIES, Modality
from embedwire_sandbox.v2.audio_parameters import AudioParameters, read_audio
from embedwire_sandbox.v2.models import BY_NAME, DIMENSIONS, LIMITS_30, Limits
from embedwire_sandbox.v2.sources import Source, read_source

INPUT_TYPES: Final = ("text", "image", "text_image", "audio", "video", "multi_input")
_MEDIA_TYPES: Final = ("image", "audio", "video", "document")
_MAX_SOURCES: Final = 10
_REFERENCE: Final = re.compile(r"<@([^<>]*)>")


@dataclass(frozen=True, slots=True)
class Common:
    """Parameters of synchronous calls and tasks.

    Attributes:
        limits: The model, and its limits.
        dimension: Length of each vector.
        uncertainty: Whether each vector comes with its uncertainty.
    """

    limits: Limits
    dimension: int
    uncertainty: bool


@dataclass(frozen=True, slots=True)
class Parameters:
    """Validated parameters of a synchronous call.

    Attributes:
        common: Parameters that tasks have as well.
        input_type: Type of the input.
        auto_truncate: Whether too long text is cut.
        text: The text, not empty, if there is one.
        images: The images, in the order of the request.
        audio: The audio, in the order of the request.
    """

    common: Common
    input_type: str
    auto_truncate: bool
    text: str | None = field(default=None, repr=False)
    images: tuple[Source, ...] = ()
    audio: tuple[AudioParameters, ...] = ()


def read_common(members: Members) -> Common:
    """Read the parameters that synchronous calls and tasks have in common.

    Raises:
        RefusalError: A parameter is invalid.
    """
    name = members.string("model_name")
    if name is not None and name not in BY_NAME:
        raise invalid("model_name", "There is no such model.")
    limits = BY_NAME[name] if name else LIMITS_30
    dimension = members.integer("embedding_dimension", DIMENSIONS)
    uncertainty = members.boolean("embedding_uncertainty")
    if not limits.is_newer:
        for parameter, value in (("embedding_dimension", dimension), ("embedding_uncertainty", uncertainty)):
            if value is not None:
                raise invalid(parameter, "It requires marengo3.5.")
    return Common(limits, dimension or limits.model.dimensions, uncertainty or False)


def read_input_type(members: Members, allowed: tuple[str, ...]) -> tuple[str, Members]:
    """Read the type of the input, and the object of that type, which has to be the only one.

    Raises:
        RefusalError: The type is missing or unknown, its object is missing, or there is another.
    """
    kind = members.string("input_type", allowed)
    if kind is None:
        raise missing("input_type")
    for other in allowed:
        if other != kind and members.take(other) is not None:
            raise invalid(other, f"It does not belong to the input_type {kind}.")
    given = members.object(kind)
    if given is None:
        raise missing(kind)
    return kind, given


def modalities_of(members: dict[str, object]) -> tuple[Modality, ...]:
    """Return the modalities of a request before it is validated, as the rate limits count them."""
    kind = members.get("input_type")
    if kind == "multi_input":
        given = members.get("multi_input")
        return _modalities_of_inputs(given) if isinstance(given, dict) else ()
    if kind == "text_image":
        return ("text", "image")
    return tuple(modality for modality in MODALITIES if modality == kind)


def _modalities_of_inputs(given: dict[str, object]) -> tuple[Modality, ...]:
    sources = given.get("media_sources")
    types = {
        str(source.get("media_type")) for source in (sources if isinstance(sources, list) else ())
        if isinstance(source, dict)
    }  # fmt: skip
    if given.get("input_text") is not None:
        types.add("text")
    return tuple(modality for modality in MODALITIES if modality in types)


def read_parameters(body: dict[str, object]) -> Parameters:
    """Validate the members of a synchronous call.

    Raises:
        RefusalError: A parameter is invalid; the first one found.
    """
    members = Members(body)
    common = read_common(members)
    truncate = members.boolean("auto_truncate")
    if truncate is not None and not common.limits.is_newer:
        raise invalid("auto_truncate", "It requires marengo3.5.")
    kind, given = read_input_type(members, INPUT_TYPES)
    members.end()
    if common.limits.is_newer and kind != "multi_input":
        raise invalid("input_type", "With marengo3.5, it has to be multi_input.")
    if kind == "video":
        raise invalid("input_type", "The sandbox does not embed video.")
    if kind == "audio":
        audio = read_audio(given, common.limits, task=False)
        return Parameters(common, kind, auto_truncate=False, audio=(audio,))
    if kind == "multi_input":
        return _multi_input(given, common, auto_truncate=truncate or False)
    text = _text(given) if kind != "image" else None
    images = (_media_source(given),) if kind != "text" else ()
    given.end()
    return Parameters(common, kind, auto_truncate=False, text=text, images=images)


def _text(given: Members) -> str:
    given.required("input_text")
    text = given.string("input_text") or ""
    if not text.strip():
        raise invalid(given.path("input_text"), "The text is empty.")
    return text


def _media_source(given: Members) -> Source:
    media = given.object("media_source")
    if media is None:
        raise missing(given.path("media_source"))
    source = read_source(media)
    media.end()
    return source


def _multi_input(given: Members, common: Common, *, auto_truncate: bool) -> Parameters:
    text = given.string("input_text")
    if text is not None and not text.strip():
        raise invalid(given.path("input_text"), "The text is empty.")
    entries = given.objects("media_sources") or []
    given.end()
    if len(entries) > _MAX_SOURCES:
        raise invalid(given.path("media_sources"), f"At most {_MAX_SOURCES} media sources are possible.")
    if text is None and not entries:
        raise missing(given.path("input_text or media_sources"))
    names: list[str] = []
    sources = [_named_source(entry, common.limits, names) for entry in entries]
    _check_names(given, text or "", names)
    kinds = {kind for kind, _ in sources}
    if text is None and len(kinds) > 1:
        raise invalid(given.path("media_sources"), "Media of different types require input_text.")
    if common.uncertainty and text is not None and sources:
        raise invalid("embedding_uncertainty", "It is not possible for text together with media sources.")
    return Parameters(
        common,
        "multi_input",
        auto_truncate,
        text,
        tuple(source for kind, source in sources if kind == "image"),
        tuple(AudioParameters(source, whole=True) for kind, source in sources if kind == "audio"),
    )


def _named_source(entry: Members, limits: Limits, names: list[str]) -> tuple[str, Source]:
    name = entry.string("name")
    entry.required("media_type")
    kind = entry.string("media_type", _MEDIA_TYPES) or ""
    source = read_source(entry)
    entry.end()
    if not limits.is_newer and kind != "image":
        raise invalid(entry.path("media_type"), "With marengo3.0, it has to be image.")
    if kind not in MODALITIES:
        raise invalid(entry.path("media_type"), f"The sandbox does not embed {kind}.")
    if name is not None:
        if name in names:
            raise invalid(entry.path("name"), "The name occurs twice.")
        names.append(name)
    return kind, source


def _check_names(given: Members, text: str, names: list[str]) -> None:
    for name in _REFERENCE.findall(text):
        if name not in names:
            raise invalid(given.path("input_text"), "It refers to a media source of a name that does not exist.")
