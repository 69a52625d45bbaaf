"""Form parts of a request to the v1 endpoint. Facts: upstream API notes, section 2."""

from embedwire_server.core.inputs import AudioInput, FileSource, Input, TextInput, UrlSource
from embedwire_server.core.models import Model
from embedwire_server.upstreams.http.multipart import Field, File, Part


def parts(item: Input, model: Model, file_size: int) -> list[Part]:
    """Return the form parts for one input, in the order in which the official SDK sends them.

    Args:
        item: the input.
        model: the model to use.
        file_size: size of its file in bytes; ignored if it has none.
    """
    form: list[Part] = [Field("model_name", model.name)]
    if isinstance(item, TextInput):
        form.append(Field("text", item.value))
        if item.truncate is not None and model.text is not None and model.text.sends_truncate:
            form.append(Field("text_truncate", item.truncate))
        return form
    if isinstance(item.source, UrlSource):
        form.append(Field(f"{item.modality}_url", item.source.url))
    if isinstance(item, AudioInput) and item.start_offset_sec is not None:
        form.append(Field("audio_start_offset_sec", repr(item.start_offset_sec)))
    if isinstance(item.source, FileSource):
        source = item.source
        form.append(File(f"{item.modality}_file", source.file_name, source.media_type, file_size, source.content))
    return form
