"""Every field of every request, and the bytes of a request that holds something in one field only."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from grpc_health.v1 import health_pb2

from headstart.v1 import (
    dataset_service_pb2,
    evaluation_service_pb2,
    example_service_pb2,
    fine_tuning_service_pb2,
    model_service_pb2,
    prediction_service_pb2,
    review_service_pb2,
    server_service_pb2,
)
from headstart_server.api.compat import open_inference_pb2, tensorflow_serving_pb2
from headstart_server.api.grpc.requests.limit import Limit
from headstart_server.api.grpc.requests.request_checks import limit_of

MODULES = [
    dataset_service_pb2,
    evaluation_service_pb2,
    example_service_pb2,
    fine_tuning_service_pb2,
    model_service_pb2,
    prediction_service_pb2,
    review_service_pb2,
    server_service_pb2,
    health_pb2,
    open_inference_pb2,
    tensorflow_serving_pb2,
]
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """Write a number as protobuf does; a negative one as that of 64 bits."""
    value &= (1 << 64) - 1
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def tag(field: FieldDescriptor, kind: int) -> bytes:
    return varint(field.number << 3 | kind)


def sized(field: FieldDescriptor, content: bytes) -> bytes:
    return tag(field, BYTES) + varint(len(content)) + content


@dataclass(frozen=True)
class Place:
    """A field of a request, and the fields on the way to it."""

    root: Descriptor
    above: tuple[FieldDescriptor, ...]
    field: FieldDescriptor

    @property
    def limit(self) -> Limit:
        limit = limit_of(self.field)
        assert limit is not None
        return limit

    @property
    def is_text(self) -> bool:
        return self.field.type == FieldDescriptor.TYPE_STRING

    @property
    def is_map(self) -> bool:
        return self.field.message_type is not None and self.field.message_type.GetOptions().map_entry

    def holding(self, content: bytes) -> bytes:
        """Write a request that holds this content where the field is."""
        for field in reversed(self.above):
            content = sized(field, content)
        return content

    def path(self, index: int | None = None, *, scanned: bool = False) -> str:
        """Return how an error names the field, or an entry of it; the scan does not know keys."""
        parts: list[str] = []
        for field in (*self.above, self.field):
            if parts and field.containing_type.GetOptions().map_entry:
                if field.name == "key" or scanned:
                    parts.append(field.name)
                else:
                    parts[-1] += "['']"
            elif field is self.field and field.is_repeated:
                parts.append(field.name if index is None else f"{field.name}[{index}]")
            else:
                parts.append(f"{field.name}[0]" if field.is_repeated and not _is_map(field) else field.name)
        return ".".join(parts)

    def __str__(self) -> str:
        return f"{self.root.full_name}:{self.path()}"


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def methods() -> list[MethodDescriptor]:
    """Return the methods of every service."""
    services = [service for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()]
    return [method for service in services for method in service.methods]


def requests() -> dict[str, Descriptor]:
    """Return the type of each request by its name."""
    return {method.input_type.full_name: method.input_type for method in methods()}


def places(root: Descriptor) -> Iterator[Place]:
    """Return every field of a type of request, those of the messages in it included."""

    def walk(kind: Descriptor, above: tuple[FieldDescriptor, ...]) -> Iterator[Place]:
        for field in kind.fields:
            yield Place(root, above, field)
            if field.message_type is not None:
                yield from walk(field.message_type, (*above, field))

    return walk(root, ())


ALL = [place for kind in requests().values() for place in places(kind)]
LIMITED = [place for place in ALL if limit_of(place.field) is not None]
COUNTED = [place for place in LIMITED if place.limit.entries is not None]
TEXTS = [place for place in LIMITED if place.is_text]
RANGES = [place for place in LIMITED if place.limit.low is not None]


def entries(place: Place, count: int) -> bytes:
    """Write so many entries of a repeated field or map, each small and each different."""
    field = place.field
    if place.is_map:
        key = field.message_type.fields_by_name["key"]
        return b"".join(sized(field, sized(key, b"%d" % number)) for number in range(count))
    if field.message_type is not None:
        return sized(field, b"") * count
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return b"".join(sized(field, b"%d" % number) for number in range(count))
    width = {FieldDescriptor.TYPE_FLOAT: 4, FieldDescriptor.TYPE_DOUBLE: 8}.get(field.type, 1)
    return sized(field, bytes(count * width))


def text_of(place: Place, value: bytes) -> bytes:
    return place.holding(sized(place.field, value))


def number_of(place: Place, value: float) -> bytes:
    field = place.field
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return place.holding(tag(field, FIXED64) + struct.pack("<d", value))
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return place.holding(tag(field, FIXED32) + struct.pack("<f", value))
    return place.holding(tag(field, VARINT) + varint(int(value)))
