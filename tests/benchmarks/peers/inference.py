"""The messages of the open inference protocol (version 2) that the comparison needs, as protobuf classes.

KServe, MLServer and Triton speak it. Fields that are neither sent nor read are left out.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_STRING, _BYTES, _INT64 = _FIELD.TYPE_STRING, _FIELD.TYPE_BYTES, _FIELD.TYPE_INT64
_FLOAT, _DOUBLE = _FIELD.TYPE_FLOAT, _FIELD.TYPE_DOUBLE

#: Of each message its fields: name, number, scalar type or message, whether repeated.
_MESSAGES = {
    "InferTensorContents": (("fp32_contents", 6, _FLOAT, True), ("fp64_contents", 7, _DOUBLE, True)),
    "InferTensor": (
        ("name", 1, _STRING, False),
        ("datatype", 2, _STRING, False),
        ("shape", 3, _INT64, True),
        ("contents", 5, "InferTensorContents", False),
    ),
    "ModelInferRequest": (
        ("model_name", 1, _STRING, False),
        ("inputs", 5, "InferTensor", True),
        ("raw_input_contents", 7, _BYTES, True),
    ),
    "ModelInferResponse": (("outputs", 5, "InferTensor", True), ("raw_output_contents", 6, _BYTES, True)),
}


def _classes() -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(name="inference.proto", package="inference", syntax="proto3")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            field = described.field.add(name=name, number=number)
            field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".inference.{kind}"
            else:
                field.type = kind
    # A separate pool: the default one may hold another definition of the same names.
    return message_factory.GetMessageClassesForFiles([file.name], _pool(file))


def _pool(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_found = _classes()
Tensor = _found["inference.InferTensor"]
Request = _found["inference.ModelInferRequest"]
Response = _found["inference.ModelInferResponse"]
