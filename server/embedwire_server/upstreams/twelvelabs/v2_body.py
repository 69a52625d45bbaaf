"""JSON bodies of requests to the v2 endpoints, for one input. Facts: upstream API notes.

All that has a default upstream is sent explicitly: the defaults there include vectors that the caller did not ask for.
Members are in the order of the official SDK.
"""

from typing import Any

from embedwire_server.core.inputs import (
    AssetSource,
    AudioInput,
    FileSource,
    ImageInput,
    Segmentation,
    TextInput,
    UrlSource,
)
from embedwire_server.core.models import AudioRules, Model, Truncate
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.http.json_body import Base64File

DEFAULT_SCOPES = ("clip",)
DEFAULT_TYPES = ("separate_embedding",)
_AUTO_TRUNCATE = {Truncate.NONE: False, Truncate.END: True}

Members = dict[str, Any]


def sync(call: EmbedCall, file_size: int) -> Members:
    """Return the body of a synchronous request.

    Args:
        call: the input.
        file_size: size of its file in bytes; ignored if none is sent.
    """
    item, model = call.input, call.model
    if model.is_composite:
        return {**_head("multi_input", call), "multi_input": _composition(call, file_size)}
    if isinstance(item, TextInput):
        return {**_head("text", call), "text": {"input_text": item.value}}
    return {**_head(item.modality, call), item.modality: _media(item, call, file_size)}


def task(call: EmbedCall, file_size: int) -> Members:
    """Return the body that creates a task for an image or audio; see `sync`.

    Raises:
        TypeError: the input is a text, for which there are no tasks.
    """
    item = call.input
    if isinstance(item, TextInput):
        raise TypeError("a text cannot be a task")
    return {**_head(item.modality, call), item.modality: _media(item, call, file_size)}


def has_asset(call: EmbedCall) -> bool:
    """Whether the body refers to an asset of the upstream."""
    is_given = not isinstance(call.input, TextInput) and isinstance(call.input.source, AssetSource)
    return is_given or bool(call.asset_id)


def _head(input_type: str, call: EmbedCall) -> Members:
    item, model = call.input, call.model
    head: Members = {"input_type": str(input_type), "model_name": model.name}
    if isinstance(item, TextInput) and item.truncate in _AUTO_TRUNCATE and model.text and model.text.sends_truncate:
        head["auto_truncate"] = _AUTO_TRUNCATE[item.truncate]
    if call.has_uncertainty:
        head["embedding_uncertainty"] = True
    if model.supported_dimensions:
        head["embedding_dimension"] = model.dimensions
    return head


def _composition(call: EmbedCall, file_size: int) -> Members:
    """Return the only part as a composition. The source needs no name, since no text refers to it."""
    item = call.input
    if isinstance(item, TextInput):
        return {"input_text": item.value}
    return {"media_sources": [{"media_type": str(item.modality), **_source(item, call, file_size)}]}


def _media(item: ImageInput | AudioInput, call: EmbedCall, file_size: int) -> Members:
    media: Members = {"media_source": _source(item, call, file_size)}
    return media | _selection(item, call.model) if isinstance(item, AudioInput) else media


def _source(item: ImageInput | AudioInput, call: EmbedCall, file_size: int) -> Members:
    """Return the media: the asset that was created for it, or what the caller gave."""
    source = item.source
    if call.asset_id:
        return {"asset_id": call.asset_id}
    if isinstance(source, AssetSource):
        return {"asset_id": source.id}
    if isinstance(source, UrlSource):
        return {"url": source.url}
    if isinstance(source, FileSource):
        return {"base64_string": Base64File(source.content, file_size)}
    raise TypeError("the result of an earlier task is not embedded again")


def _selection(item: AudioInput, model: Model) -> Members:
    """Return what is selected for audio: its part, windows, options, scopes and types."""
    rules = model.audio or AudioRules()
    members: Members = {}
    if item.start_offset_sec is not None:
        members["start_sec"] = item.start_offset_sec
    if item.end_offset_sec is not None:
        members["end_sec"] = item.end_offset_sec
    windows = _windows(item.segmentation or Segmentation(*rules.default_segmentation))
    members["segmentation"] = {"temporal": windows} if model.is_composite else windows
    options = item.options or rules.options
    if options:
        members["embedding_option"] = [*options]
    if rules.scopes:
        members["embedding_scope"] = [*(item.scopes or DEFAULT_SCOPES)]
    if rules.types and len(options) > 1:  # the upstream rejects it with one option
        members["embedding_type"] = [*(item.types or DEFAULT_TYPES)]
    return members


def _windows(segmentation: Segmentation) -> Members:
    name = "duration_sec" if segmentation.method == "fixed" else "min_duration_sec"
    return {"strategy": segmentation.method, segmentation.method: {name: segmentation.seconds}}
