"""Conversion of a Keras image model to a network from uint8 pixels to features."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Images
from headstart_server.backbones.preprocessing.images import CROP
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.sources.image_networks import declared_network
from headstart_server.backbones.sources.source import SourceError

#: Changes whenever the layers added around a model compute other values.
_FORM = "keras-images/2"


def image_network(
    body: Any,
    declaration: Declaration,
    *,
    architecture: str,
    weights: str,
    size: int,
    preprocess: Callable[[Any], Any] = lambda pixels: pixels,
    crop: float = CROP,
    pooling: str | None = None,
    license: str = "",
    description: str = "",
) -> Network:
    """Put preprocessing before a Keras model, and pooling after it.

    Args:
        body: model from float32 pixels [n, height, width, 3] to one output; to several named outputs only if
            the declaration names an output or a layer.
        architecture: identifies the model and `preprocess` in the digest, independent of file paths.
        weights: SHA-256 of its weights in hexadecimal.
        size: height and width of its images, in pixels.
        preprocess: its preprocessing of pixels 0 to 255 unless scale, mean or std are declared; the pixels
            are BGR if these channels are declared.
        crop: default fraction of the shorter side.
        pooling: default pooling of tokens.
        license: default license of the weights.
        description: default description of the network.

    Raises:
        SourceError: the layer is missing, or its values cannot be pooled.
    """
    keras = load_keras()
    images = keras.Input((size, size, 3), dtype="uint8", name="images")
    pixels = keras.ops.cast(images, body.inputs[0].dtype if body.inputs else "float32")
    if declaration.channels == "bgr":
        pixels = pixels[..., ::-1]
    scaled = _scaled(pixels, declaration) if replaces_preprocessing(declaration) else preprocess(pixels)
    features = _pooled(_output(body, declaration)(scaled), declaration.pooling, default=pooling)
    model = keras.Model(images, {LAST: keras.ops.cast(features, "float32")})
    model.trainable = False
    decoding = Images(size=size, crop=crop if declaration.crop is None else declaration.crop)
    return declared_network(
        model,
        declaration,
        decoding,
        width=int(features.shape[-1]),
        parameter_count=int(sum(np.prod(weight.shape) for weight in model.weights)),
        architecture=[_FORM, architecture],
        weights=weights,
        license=license,
        description=description,
    )


def weights_digest(model: Any) -> str:
    """Return the SHA-256 over the weights of a Keras model in order: positions, shapes and values."""
    digest = hashlib.sha256()
    # Not their names, because Keras numbers layers by the count of earlier ones.
    for place, weight in enumerate(model.weights):
        values = np.ascontiguousarray(load_keras().ops.convert_to_numpy(weight))
        digest.update(f"{place} {values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def side_of(body: Any, declaration: Declaration) -> int:
    """Return the height and width of a model's images, in pixels: fixed, or declared if it accepts any.

    Raise SourceError if it does not accept images of three channels, or of the declared size.
    """
    shape = tuple(body.input_shape) if not isinstance(body.input_shape, dict | list) else ()
    if len(shape) != 4 or shape[3] not in (3, None):
        raise SourceError(
            f"Expected a network of one input, images [n, height, width, 3]. Received: {body.input_shape}."
        )
    own = {side for side in shape[1:3] if side is not None}
    sizes = {declaration.size} if declaration.size else own
    if len(own | sizes) != 1:
        raise SourceError(
            "Expected a network of square images of a fixed or declared size. Received: input "
            f"shape {list(shape)}, declared size {declaration.size}."
        )
    return int((own | sizes).pop())


def replaces_preprocessing(declaration: Declaration) -> bool:
    """Return whether a declaration replaces the network's own scaling of pixels."""
    return declaration.scale is not None or bool(declaration.mean or declaration.std)


def _scaled(pixels: Any, declaration: Declaration) -> Any:
    """Apply scale, then mean, then standard deviation, in the network's channel order."""
    if declaration.scale is not None:
        pixels = pixels * declaration.scale
    elif declaration.mean or declaration.std:
        pixels = pixels * (1 / 255)
    if declaration.mean:
        pixels = pixels - np.array(declaration.mean, np.float32)
    if declaration.std:
        pixels = pixels / np.array(declaration.std, np.float32)
    return pixels


def _output(body: Any, declaration: Declaration) -> Any:
    """Return the model up to the declared layer or output."""
    if declaration.layer is None:
        return body
    outputs = body.output if isinstance(body.output, dict) else {}
    if declaration.layer in outputs:
        return load_keras().Model(body.inputs, outputs[declaration.layer])
    names = [*outputs, *(layer.name for layer in body.layers)]
    if declaration.layer not in names:
        raise SourceError(
            f"Expected a layer of the network: {_some(names)}. Received: {declaration.layer!r}."
        )
    return load_keras().Model(body.input, body.get_layer(declaration.layer).output)


def _pooled(features: Any, declared: str | None, *, default: str | None) -> Any:
    """Pool each image into one vector: the mean of maps, and of tokens by `default`, unless declared."""
    ops = load_keras().ops
    if not hasattr(features, "shape"):
        raise SourceError(
            f"Expected a network of one output. Received: {len(features)}. Name one with the setting layer."
        )
    rank = len(features.shape)
    pooling = declared or ("none" if rank == 2 else (default if rank == 3 else None) or "avg")
    places = {3: (1,), 4: (1, 2)}.get(rank)
    if pooling == "none" and rank == 2:
        return features
    if pooling == "none" and None not in features.shape[1:]:
        return ops.reshape(features, (-1, int(np.prod(features.shape[1:]))))
    if places is not None and pooling in {"avg", "max"}:
        return ops.mean(features, axis=places) if pooling == "avg" else ops.max(features, axis=places)
    if rank == 3 and pooling == "first":
        return features[:, 0]
    raise SourceError(
        f"Expected features that pooling {pooling!r} suits. Received: shape {list(features.shape)}."
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:4])}, ... {', '.join(names[-8:])}"
