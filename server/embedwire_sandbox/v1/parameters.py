"""Validates the parameters of an embedding call, in the order of the upstream API notes, section 10."""

import re
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, Literal

from embedwire_sandbox.bodies.form import Form
from embedwire_sandbox.errors import invalid, missing, unknown
from embedwire_sandbox.media.upload import Upload
from embedwire_sandbox.models import MODALITIES, Modality, Model, find_model
from embedwire_sandbox.options import SandboxOptions

FILE_PARTS: Final = ("image_file", "audio_file")
FIELD_PARTS: Final = ("model_name", "text", "text_truncate", "image_url", "audio_url", "audio_start_offset_sec")

Truncate = Literal["none", "start", "end"]

_TRUNCATIONS: Final[dict[str, Truncate]] = {"none": "none", "start": "start", "end": "end"}
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_OFFSET: Final = "audio_start_offset_sec"


@dataclass(frozen=True, slots=True)
class Parameters:
    """Validated parameters of an embedding call.

    Attributes:
        model: The model.
        text: The text, not empty, if there is one.
        truncate: Which end of a too long text to remove.
        image: URL or file of the image, if there is one.
        audio: URL or file of the audio, if there is one.
        audio_start_sec: Start offset in the audio, in seconds.
    """

    model: Model
    text: str | None = field(repr=False)
    truncate: Truncate
    image: str | Upload | None = field(repr=False)
    audio: str | Upload | None = field(repr=False)
    audio_start_sec: float


def read_parameters(form: Form, options: SandboxOptions) -> Parameters:
    """Validate a form and return its parameters. The form still closes the files.

    Raises:
        RefusalError: A parameter is invalid; the first one found.
    """
    model = _model(form, options)
    if options.strict:
        _check_strictly(form)
    if not modalities(form):
        raise missing("text, image_url, image_file, audio_url or audio_file")
    return Parameters(
        model=model,
        text=_text(form),
        truncate=_truncate(form),
        image=_string(form, "image_url") or form.files.get("image_file"),
        audio=_string(form, "audio_url") or form.files.get("audio_file"),
        audio_start_sec=_start(form),
    )


def modalities(form: Form) -> tuple[Modality, ...]:
    """Return the modalities to embed. An empty URL part does not count; an empty text part does."""
    return tuple(
        modality
        for modality in MODALITIES
        if (modality == "text" and "text" in form.fields)
        or f"{modality}_file" in form.files
        or form.fields.get(f"{modality}_url")
    )


def _model(form: Form, options: SandboxOptions) -> Model:
    name = _string(form, "model_name")
    if not name:
        raise missing("model_name")
    model = find_model(name, strict=options.strict, retire_marengo_27=options.retire_marengo_27)
    if model is None:
        raise invalid("model_name", "There is no such model.")
    return model


def _check_strictly(form: Form) -> None:
    for name in form.names:
        if name not in (*FIELD_PARTS, *FILE_PARTS):
            raise unknown(name)
    for name in ("image_url", "audio_url", _OFFSET):
        if form.fields.get(name) == b"":
            raise invalid(name, "It is empty.")


def _string(form: Form, name: str) -> str:
    try:
        return form.fields.get(name, b"").decode()
    except UnicodeDecodeError:
        raise invalid(name, "It is not UTF-8.") from None


def _text(form: Form) -> str | None:
    if "text" not in form.fields:
        return None
    text = _string(form, "text")
    if not text.strip():
        raise invalid("text", "The text is empty.")
    return text


def _truncate(form: Form) -> Truncate:
    value = _string(form, "text_truncate") or "end"
    if value not in _TRUNCATIONS:
        raise invalid("text_truncate", "You should use one of the following values: none, start, end.")
    return _TRUNCATIONS[value]


def _start(form: Form) -> float:
    value = _string(form, _OFFSET)
    if not value:  # an explicit None of the SDK
        return 0.0
    seconds = float(value) if _NUMBER.fullmatch(value) else -1.0
    if seconds < 0 or not isfinite(seconds):
        raise invalid(_OFFSET, "It has to be a number of seconds that is not negative.")
    return seconds
