"""Conversion of an OpenVINO image model to a network from uint8 pixels to features."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.golden import golden_image
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Images
from headstart_server.backbones.preprocessing.images import CROP, MAX_PIXELS
from headstart_server.backbones.runtimes.openvino_import import load_openvino
from headstart_server.backbones.sources.image_networks import declared_network
from headstart_server.backbones.sources.openvino_reading import reason_of
from headstart_server.backbones.sources.source import SourceError

#: Operations that may follow a classifier's product before the output.
_PASSED = {"Softmax", "LogSoftmax", "Sigmoid", "Convert", "Squeeze", "Add", "Subtract", "Multiply", "Divide"}


def features_of(model: Any, layer: str | None, *, takes_last: bool) -> Any:
    """Return the output with the features.

    Args:
        layer: name of an output, else of a tensor, else of a node; None chooses the input of a final
            classifier, else the output.
        takes_last: whether the last of several outputs is chosen without a `layer`.

    Raises:
        SourceError: the layer is missing, or several outputs leave the choice open.
    """
    if layer is not None:
        return _named(model, layer)
    results = model.get_results()
    if len(results) != 1 and not takes_last:
        raise SourceError(
            "Expected a network of one output, or the setting layer. "
            f"Received: {_listed(output_names(model))}."
        )
    return _before_classifier(results[-1].input_value(0))


def output_names(model: Any) -> list[str]:
    """Return a name for each of a model's outputs."""
    return [_name(result) for result in model.get_results()]


def _named(model: Any, layer: str) -> Any:
    for result in model.get_results():
        if layer in result.output(0).get_names() | {result.get_friendly_name()}:
            return result.input_value(0)
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() != "Result"]
    for node in nodes:
        for output in node.outputs():
            if layer in output.get_names():
                return output
    for node in nodes:
        if node.get_friendly_name() == layer and node.get_output_size() == 1:
            return node.output(0)
    inner = [
        node.get_friendly_name()
        for node in nodes
        if node.get_type_name() not in {"Constant", "Parameter"} and node.output(0).get_names()
    ]
    raise SourceError(
        f"Expected an output, {_listed(output_names(model))}, or a layer: {_listed(inner)}. "
        f"Received: {layer!r}."
    )


def _before_classifier(output: Any) -> Any:
    """Return the input of a final classifier's matrix product, or else the output itself."""
    value = output
    while True:
        node = value.get_node()
        varying = [one for one in node.input_values() if not _is_constant(one.get_node())]
        if node.get_type_name() == "MatMul" and len(varying) == 1 and node.get_input_size() == 2:
            return varying[0]
        if node.get_type_name() not in _PASSED or len(varying) != 1:
            return output
        value = varying[0]


def _is_constant(node: Any) -> bool:
    """Return whether a value is independent of the network's input."""
    pending, seen = [node], set()
    while pending:
        one = pending.pop()
        if one.get_type_name() in {"Parameter", "ReadValue"}:
            return False
        if one.get_instance_id() not in seen:
            seen.add(one.get_instance_id())
            pending += [value.get_node() for value in one.input_values()]
    return True


def _name(result: Any) -> str:
    names = sorted(result.output(0).get_names())
    return str(names[0] if names else result.get_friendly_name())


def _listed(names: Sequence[str]) -> str:
    some = names if len(names) <= 12 else [*names[:4], "...", *names[-8:]]
    return ", ".join(some) or "none"


#: Changes whenever the layers added around a model compute other values.
_FORM = "openvino-images/1"

#: Minimum declared side of images, in pixels.
_LEAST_SIZE = 8

#: Maximum difference of a row alone and in a batch, relative to its largest feature; rounding stays below.
_ROW_TOLERANCE = 1e-3


def image_network(
    model: Any,
    declaration: Declaration,
    *,
    architecture: str,
    weights: str,
    scale: float = 1.0,
    takes_last: bool = True,
) -> Network:
    """Put preprocessing before an OpenVINO model, and pooling after it.

    Args:
        model: an `openvino.Model` from images, [n, 3, height, width] or [n, height, width, 3], of any number
            type. It is modified.
        declaration: the declaration. Without scale, mean and std, pixels 0 to 255 are multiplied by `scale`.
            Its layer names an output, a tensor or a node; see `features_of`.
        architecture: identifies the kind of model in the digest, independent of file paths.
        weights: SHA-256 of its weights in hexadecimal.
        scale: default factor of pixels, unless the model takes integers.
        takes_last: whether the last of several outputs is the default.

    Raises:
        SourceError: the model does not accept images, the layer is missing, its values cannot be pooled, or
            rows depend on each other.
    """
    pixels = _the_input(model)
    channels_first, size = _shaped(model, pixels, declaration)
    features = features_of(model, declaration.layer, takes_last=takes_last)
    own = {node.get_instance_id() for node in model.get_ordered_ops()}
    images = _preprocessed(pixels, declaration, size, channels_first=channels_first, scale=scale)
    pooled = _pooled(features, declaration, channels_first=channels_first)
    model = load_openvino().Model([pooled], [images], "backbone")
    for node in model.get_ordered_ops():
        for output in node.outputs():
            # Otherwise its name would remain in addition to ours if no operation follows the output.
            output.get_tensor().set_names({LAST} if output == pooled.output(0) else set())
    shape = model.output(0).get_partial_shape()
    if shape.rank.get_length() != 2 or shape[1].is_dynamic or shape[1].get_length() < 1:
        raise SourceError(
            f"Expected one vector of features of a known size for each image. Received: shape {shape}."
        )
    decoding = Images(size=size, crop=CROP if declaration.crop is None else declaration.crop)
    _check_rows(model, decoding)
    return declared_network(
        model,
        declaration,
        decoding,
        width=shape[1].get_length(),
        parameter_count=_parameter_count(model, own),
        architecture=[_FORM, architecture, scale],
        weights=weights,
    )


def _the_input(model: Any) -> Any:
    inputs = model.get_parameters()
    if len(inputs) != 1:
        names = [one.get_friendly_name() for one in inputs]
        raise SourceError(f"Expected a network of one input, images. Received: {len(inputs)}, {names}.")
    return inputs[0]


def _shaped(model: Any, pixels: Any, declaration: Declaration) -> tuple[bool, int]:
    """Allow any number of images of one size as input; return whether channels are first, and the size."""
    shape = pixels.get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != 4:
        raise SourceError(
            "Expected a network of images, [n, 3, height, width] or [n, height, width, 3]. "
            f"Received: input shape {shape}."
        )
    refusals = []
    for channels_first, size in _layouts(shape, declaration):
        sides = [3, size, size] if channels_first else [size, size, 3]
        try:
            model.reshape([-1, *sides])
        except RuntimeError as error:
            refusals.append(reason_of(error))
        else:
            return channels_first, size
    raise SourceError(
        "Expected a network of any number of square images of a fixed or declared size. "
        f"Received: input shape {shape}, declared size {declaration.size}. {' '.join(refusals)}"
    )


def _layouts(shape: Any, declaration: Declaration) -> Iterator[tuple[bool, int]]:
    """Yield the possible meanings of an input shape: channels first or last, and the size."""
    for channels_first, channels, sides in ((True, shape[1], shape[2:]), (False, shape[3], shape[1:3])):
        sizes = {side.get_length() for side in sides if side.is_static}
        sizes |= {declaration.size} if declaration.size else set()
        # The three channels of the other layout must not be taken for a size.
        if (
            (channels.is_dynamic or channels.get_length() == 3)
            and len(sizes) == 1
            and min(sizes) >= _LEAST_SIZE
        ):
            yield channels_first, int(sizes.pop())


def _preprocessed(
    pixels: Any, declaration: Declaration, size: int, *, channels_first: bool, scale: float
) -> Any:
    """Feed the input from uint8 images: scale, mean and standard deviation, in the network's channel order.

    Returns:
        The new parameter, [n, size, size, 3].
    """
    openvino = load_openvino()
    opset = openvino.opset13
    kind = pixels.get_element_type()
    images = opset.parameter([-1, size, size, 3], np.uint8, name="images")
    values: Any = images
    if declaration.channels == "bgr":
        values = opset.gather(values, np.array([2, 1, 0]), np.array(3))
    wanted = declaration.scale or (1 / 255 if declaration.mean or declaration.std else None)
    if wanted is not None or kind.is_real():
        values = opset.convert(values, "f32")
        factor = scale if wanted is None else wanted
        if factor != 1.0:
            values = opset.multiply(values, np.array(factor, np.float32))
    if declaration.mean:
        values = opset.subtract(values, np.array(declaration.mean, np.float32))
    if declaration.std:
        values = opset.divide(values, np.array(declaration.std, np.float32))
    if channels_first:
        values = opset.transpose(values, np.array([0, 3, 1, 2]))
    if values.get_element_type() != kind:
        values = opset.convert(values, kind.to_string())
    for consumer in pixels.output(0).get_target_inputs():
        consumer.replace_source_output(values.output(0))
    return images


def _pooled(features: Any, declaration: Declaration, *, channels_first: bool) -> Any:
    """Pool each image into one vector: the mean of maps and tokens, unless declared."""
    opset = load_openvino().opset13
    shape = features.get_partial_shape()
    rank = None if shape.rank.is_dynamic else len(shape)
    pooling = declaration.pooling or ("none" if rank == 2 else "avg")
    places = {3: [1], 4: _places(shape, channels_first=channels_first)}.get(rank or 0)
    values = opset.convert(features, "f32")
    if pooling == "none" and rank == 2:
        return values
    if pooling == "none" and rank in {3, 4}:
        return opset.reshape(values, np.array([0, -1]), special_zero=True)
    if places is not None and pooling in {"avg", "max"}:
        pool = opset.reduce_mean if pooling == "avg" else opset.reduce_max
        return pool(values, np.array(places), keep_dims=False)
    if rank == 3 and pooling == "first":
        return opset.gather(values, np.array(0), np.array(1))
    raise SourceError(f"Expected features that pooling {pooling!r} suits. Received: shape {shape}.")


def _places(shape: Any, *, channels_first: bool) -> list[int]:
    """Return the axes of height and width: two of equal size, because images are square; else the input's.

    Inside a network whose input has channels last, channels are often first.
    """
    sides = [side.get_length() if side.is_static else None for side in shape]
    alike = [axes for axes in ([2, 3], [1, 2]) if len(sides) == 4 and sides[axes[0]] == sides[axes[1]]]
    return alike[0] if len(alike) == 1 else [2, 3] if channels_first else [1, 2]


def _check_rows(model: Any, decoding: Images) -> None:
    """Reject a network with a fixed number of rows inside, or whose rows depend on each other."""
    openvino = load_openvino()
    image = decoding.decoder(max_pixels=MAX_PIXELS).decode(golden_image())
    rows = np.stack([image, 255 - image[::-1]])
    try:
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        together = compiled(rows)[0].copy()
        alone = [compiled(row[None])[0].copy() for row in rows]
    except RuntimeError as error:
        raise SourceError(
            f"Expected a network that accepts any number of images. Received: {reason_of(error)}"
        ) from error
    apart = np.concatenate(alone)
    bound = _ROW_TOLERANCE * float(np.max(np.abs(apart), initial=0.0))
    if together.shape != apart.shape or not np.all(np.abs(together - apart) <= bound):  # a NaN fails too
        raise SourceError(
            "The features of an image must depend on this image only, and be numbers. For two images "
            f"together, of shape {list(together.shape)}, they differ from those of each alone."
        )


def _parameter_count(model: Any, own: Collection[int]) -> int:
    """Count the numbers in the constants of a model, in its original nodes."""
    nodes = [node for node in model.get_ordered_ops() if node.get_instance_id() in own]
    constants = [node for node in nodes if node.get_type_name() == "Constant"]
    return sum(int(np.prod(one.get_shape())) for one in constants if one.get_element_type().is_real())
