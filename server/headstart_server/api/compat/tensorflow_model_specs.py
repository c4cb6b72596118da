"""How TensorFlow Serving's callers name models, versions and signatures."""

from collections.abc import Collection

from headstart_server.api.compat import tensorflow_serving_pb2 as pb
from headstart_server.api.compat.compat_predictor import Found
from headstart_server.errors import InvalidField
from headstart_server.models.version import Selector

#: The signature that is meant where none is named.
DEFAULT_SIGNATURE = "serving_default"


def selector_of(spec: pb.ModelSpec) -> Selector:
    """The selector of a model's spec: a version by number, an alias by its label, or the newest.

    Raises:
        InvalidField: it names no model.
    """
    if not spec.name:
        raise InvalidField("Expected a model in model_spec. Received: none.", field="model_spec.name")
    kind = spec.WhichOneof("version_choice")
    return Selector(
        model=spec.name,
        number=spec.version.value if kind == "version" else None,
        alias=spec.version_label if kind == "version_label" else None,
    )


def check_signature(spec: pb.ModelSpec, known: Collection[str]) -> None:
    """Check that a spec asks for one of these signatures, or for none.

    Raises:
        InvalidField: it asks for another one.
    """
    if spec.signature_name not in ("", *known):
        raise InvalidField(
            f"Expected a signature_name of {' or '.join(known)}. Received: {spec.signature_name[:80]!r}.",
            field="model_spec.signature_name",
        )


def spec_message(found: Found, signature: str) -> pb.ModelSpec:
    """The spec of the version that answered."""
    message = pb.ModelSpec(name=found.version.model, signature_name=signature)
    message.version.value = found.version.number
    return message
