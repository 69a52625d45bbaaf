"""File of the failed inputs of a batch: one JSON object for each."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from embedwire.batch.atomic_files import replacing
from embedwire.errors import FieldViolation


@dataclasses.dataclass(frozen=True, slots=True)
class FailedInput:
    """An input that is not in the parts, and why.

    Attributes:
        key: key of the input, or its position in the source if it has none.
        modality: modality of the input; None if the entry of the source is no input.
        reason: reason, for instance "INPUT_REJECTED" (see `embedwire.errors.Failure`).
        code: name of the gRPC status code, for instance "INVALID_ARGUMENT"; empty if the input was not sent.
        message: one sentence: the fault and how to correct it.
        fields: invalid fields of the input.
        attempts: number of calls that the input was sent with.
        request_id: id of the last call in the server's log; empty if there was none.
        upstream_task_id: identifier of the upstream's task; empty if there was none.
        is_temporary: whether a later run tries the input again.
    """

    key: str
    modality: str | None
    reason: str
    code: str
    message: str = dataclasses.field(repr=False)
    fields: tuple[FieldViolation, ...] = ()
    attempts: int = 0
    request_id: str = ""
    upstream_task_id: str = ""
    is_temporary: bool = False


def write(path: Path, failures: Iterable[FailedInput]) -> None:
    """Replace the file by one with these failures, one line each. Without failures it is empty.

    Raises:
        OSError: it cannot be written, for instance because the disk is full. `filename` names the file.
    """
    with replacing(path) as file:
        file.writelines(_line(failure) for failure in failures)


def _line(failure: FailedInput) -> bytes:
    return json.dumps(dataclasses.asdict(failure), ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
