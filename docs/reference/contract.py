"""API reference of the contract in Markdown: services, messages, enums, and the table of error reasons."""

import re
from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, MethodDescriptorProto

from docs.reference.descriptors import (
    ENUM,
    FIELD,
    MESSAGE,
    METHOD,
    ONEOF,
    PACKAGE,
    SERVICE,
    VALUE,
    File,
    files,
    map_entry,
    type_name,
)
from docs.reference.pages import cell

_REASONS = "ErrorReason"
_PREFIX = "ERROR_REASON_"
_GROUPS = {
    "Errors that the client can correct": range(1, 100),
    "Rejections by a policy of the server": range(100, 200),
    "Failures of the upstream": range(200, 300),
    "Failures of the server": range(300, 400),
}


def lines() -> Iterator[str]:
    """Yield the reference of all services, messages and enums, without the error reasons."""
    for file in files():
        for index, service in enumerate(file.descriptor.service):
            yield from (f"## {service.name}", "", f"Full name: `{PACKAGE}.{service.name}`.", "")
            yield from (file.comment(SERVICE, index), "")
            for place, method in enumerate(service.method):
                yield from _method(method, file.comment(SERVICE, index, METHOD, place))
    yield from ("## Messages", "")
    for file in files():
        for index, message in enumerate(file.descriptor.message_type):
            yield from _message(file, index, message)
    yield "## Enums"
    for file in files():
        for index, enum in enumerate(file.descriptor.enum_type):
            if enum.name != _REASONS:
                yield from _enum(file, index)


def _method(method: MethodDescriptorProto, comment: str) -> Iterator[str]:
    request = f"{'stream ' * method.client_streaming}{_link(method.input_type.removeprefix('.'))}"
    response = f"{'stream ' * method.server_streaming}{_link(method.output_type.removeprefix('.'))}"
    yield from (f"### {method.name}", "", f"- Request: {request}", f"- Response: {response}", "")
    yield from (comment, "")


def _message(file: File, index: int, message: DescriptorProto) -> Iterator[str]:
    yield from (f"### {message.name}", "", file.comment(MESSAGE, index), "")
    if message.field:
        yield from ("| field, number, type | description |", "|---|---|")
    for place, field in enumerate(message.field):
        description = cell(file.comment(MESSAGE, index, FIELD, place))
        yield f"| `{field.name}` = {field.number}<br>{_type(field, message)} | {description} |"
    if message.field:
        yield ""
    is_optional = {field.oneof_index for field in message.field if field.proto3_optional}
    for place, oneof in enumerate(message.oneof_decl):
        if place not in is_optional:  # the compiler makes one for each optional field
            yield from (f"At most one field of oneof `{oneof.name}` is set. {_oneof(file, index, place)}", "")


def _oneof(file: File, index: int, place: int) -> str:
    return " ".join(file.comment(MESSAGE, index, ONEOF, place).split())


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    if entry := map_entry(field, message):
        return f"map of {' to '.join(_link(type_name(part)) for part in entry.field)}"
    name = _link(type_name(field))
    if field.proto3_optional:
        return f"optional {name}"
    if field.HasField("oneof_index"):
        return f"{name}<br>oneof `{message.oneof_decl[field.oneof_index].name}`"
    return f"repeated {name}" if field.label == FieldDescriptorProto.LABEL_REPEATED else name


def _link(name: str) -> str:
    if not name.startswith(PACKAGE):
        return f"`{name}`"
    short = name.removeprefix(f"{PACKAGE}.")
    return f"[`{short}`](#{'error-reasons' if short == _REASONS else short.lower()})"


def _enum(file: File, index: int) -> Iterator[str]:
    enum = file.descriptor.enum_type[index]
    yield from ("", f"### {enum.name}", "", file.comment(ENUM, index), "")
    yield from ("| value, number | description |", "|---|---|")
    for place, value in enumerate(enum.value):
        yield f"| `{value.name}` = {value.number} | {cell(file.comment(ENUM, index, VALUE, place))} |"


def lines_of_error_reasons() -> Iterator[str]:
    """Yield the comment of the enum and a table of its values for each group: code, meaning and a sample message."""
    file, index = next(
        (file, index)
        for file in files()
        for index, enum in enumerate(file.descriptor.enum_type)
        if enum.name == _REASONS
    )
    yield file.comment(ENUM, index)
    values = file.descriptor.enum_type[index].value
    for title, numbers in _GROUPS.items():
        yield from ("", f"### {title}", "", "| reason, number, gRPC code | meaning |", "|---|---|")
        for place, value in enumerate(values):
            if value.number in numbers:
                meaning, code, sample = _parts(file.comment(ENUM, index, VALUE, place))
                name = value.name.removeprefix(_PREFIX)
                yield f"| `{name}` = {value.number}<br>{code} | {cell(meaning)}<br>Sample: {cell(sample)} |"


def _parts(comment: str) -> list[str]:
    """Split the comment of a reason. Each ends with the lines `Code: CODE.` and `Sample: a message`."""
    match = re.fullmatch(r"(.+)\nCode: ([A-Z_]+)\.\nSample: (.+)", comment, re.DOTALL)
    if match is None:
        raise ValueError(f"error_reason.proto: a reason's comment must end with its code and a sample: {comment}")
    return list(match.groups())
