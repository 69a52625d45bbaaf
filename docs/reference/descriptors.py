"""The contract as descriptors with their comments, from proto/embedwire.protoset."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

PACKAGE = "embedwire.v1"
_PROTOSET = Path(__file__).parents[2] / "proto/embedwire.protoset"
# Number of a field in a descriptor: element of a path in SourceCodeInfo.
MESSAGE, ENUM, SERVICE = 4, 5, 6
FIELD, ONEOF, VALUE, METHOD = 2, 8, 2, 2


class File:
    """One .proto file of the contract.

    Args:
        descriptor: its descriptor, with source information.

    Attributes:
        descriptor: the same.
    """

    def __init__(self, descriptor: FileDescriptorProto) -> None:
        self.descriptor = descriptor
        self._comments: Mapping[tuple[int, ...], str] = {
            tuple(location.path): "\n".join(line.removeprefix(" ") for line in location.leading_comments.split("\n"))
            for location in descriptor.source_code_info.location
        }

    def comment(self, *path: int) -> str:
        """Return the comment above the element with this path in the descriptor."""
        return self._comments[path].strip()


def files() -> Iterator[File]:
    """Yield the files of the contract, the service first."""
    known = FileDescriptorSet.FromString(_PROTOSET.read_bytes()).file
    ours = [file for file in known if file.package == PACKAGE]
    yield from (File(file) for file in sorted(ours, key=lambda file: not file.service))


def type_name(field: FieldDescriptorProto) -> str:
    """Return the name of the field's type: scalar as in .proto files, otherwise full without a leading dot."""
    if field.type_name:
        return field.type_name.removeprefix(".")
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def map_entry(field: FieldDescriptorProto, message: DescriptorProto) -> DescriptorProto | None:
    """Return the type of the entries if the field is a map, otherwise None."""
    name = field.type_name.rpartition(".")[2]
    return next((entry for entry in message.nested_type if entry.name == name and entry.options.map_entry), None)
