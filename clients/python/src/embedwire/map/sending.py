"""One call of a run: its request, and whether its inputs can be sent again after a rejection."""

from collections.abc import Mapping

from embedwire import requests
from embedwire.inputs import Media
from embedwire.map.batches import Item
from embedwire.map.call import Call
from embedwire.uploads import UploadMessages
from embedwire.v1 import embedding_pb2 as pb

# Maximum wait of a rejected call for a read of its source that is in progress.
AT_REST_SECONDS = 2.0


def encoded(call: Call) -> tuple[Mapping[int, pb.Input], dict[int, Exception]]:
    """Encode each input of a call. May block.

    Returns:
        The encoded inputs, and the exceptions of those that cannot be read or encoded, by index.
    """
    messages: dict[int, pb.Input] = {}
    unreadable: dict[int, Exception] = {}
    for index, item in enumerate(call.items):
        try:
            item.rewind()
            messages[index] = requests.encode(item.input, item.file_bytes, is_upload=item.is_upload)
        except Exception as error:  # noqa: BLE001 - a file may raise any
            unreadable[index] = error
    return messages, unreadable


def plan(model: str, call: Call, messages: Mapping[int, pb.Input]) -> requests.Plan:
    """Build the request of a call from its encoded inputs."""
    uploads = {
        index: item.input for index, item in enumerate(call.items) if item.is_upload and isinstance(item.input, Media)
    }
    inputs = [item.input for item in call.items]
    return requests.assemble(model, inputs, list(messages.values()), uploads, call.options)


def is_repeatable(call: Call, upload: UploadMessages | None) -> bool:
    """Return whether the inputs of a rejected call can be sent again. May block for two seconds.

    A source that can be read only once is sent again if its reading has not begun. A seekable file is sent again unless
    the earlier call may still be reading it.
    """
    if upload is None:
        return True
    is_at_rest = upload.stop(AT_REST_SECONDS)
    return all(_can_be_sent_again(item, upload, is_at_rest=is_at_rest) for item in call.items)


def _can_be_sent_again(item: Item, upload: UploadMessages, *, is_at_rest: bool) -> bool:
    if item.start is not None:
        return is_at_rest
    return item.is_repeatable or (is_at_rest and not upload.has_begun)
