"""Image networks from folders in KerasHub's formats."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.images import CROP
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.sources.hub_folder import Format, HubFolder, load_keras_hub, summary_of
from headstart_server.backbones.sources.keras_images import image_network
from headstart_server.backbones.sources.source import SourceError

#: Networks that were trained with a class token, the first.
_CLASS_TOKEN = {"ViTBackbone", "DeiTBackbone", "DINOV2Backbone", "DINOV3Backbone"}
_CONVERTER = "image_converter.json"
_PROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Converter:
    """Preprocessing of images for a network."""

    size: int | None = None  # height and width; None if any
    crop: float = CROP  # fraction of the shorter side that is kept
    scale: Any = 1.0  # factor of pixels 0 to 255, for all channels or each
    offset: Any = 0.0  # added after scaling

    def __call__(self, pixels: Any) -> Any:
        return pixels * np.asarray(self.scale, np.float32) + np.asarray(self.offset, np.float32)


def hub_images(folder: HubFolder, declaration: Declaration) -> Network:
    """Open the image network in a folder.

    Its features are the mean over a map, or the class token if the network was trained with one. For a
    network of images and texts, they are the embedding that is compared with texts; such a network also has
    the outputs ``tokens`` and, before the projection, ``pooled``. Raise SourceError if it is damaged, does
    not accept images, or its preprocessing is unknown.
    """
    hub = load_keras_hub()
    converter = _converter(folder, declaration)
    own = _own_size(folder)
    size = declaration.size or converter.size or own
    if size is None:
        raise SourceError(f"The setting size is missing. Set it, because {folder.kind} accepts any size.")
    resized = {"image_shape": (size, size, 3)} if own not in {None, size} else {}
    try:
        backbone = hub.models.Backbone.from_preset(str(folder.path), **resized)
    except Exception as error:  # damaged files end in nearly any
        also = f" with images of {size} pixels instead of {own}" if resized else ""
        raise SourceError(
            f"Expected a network that KerasHub {hub.__version__} loads{also}. Received: {folder.kind}, "
            f"{summary_of(error)}."
        ) from error
    pooling = _pooling(backbone)
    return image_network(
        _body(backbone, declaration),
        declaration,
        architecture=f"{folder.architecture(_CONVERTER, _PROCESSOR)} {pooling}",
        weights=folder.weights(),
        size=size,
        preprocess=converter,
        crop=converter.crop,
        pooling=pooling,
        description=f"{folder.kind} of {folder.format.value}.",
    )


def _body(backbone: Any, declaration: Declaration) -> Any:
    """Return a model from images to features, or to all outputs if one is declared."""
    keras = load_keras()
    if hasattr(backbone, "get_vision_embeddings"):
        outputs = _vision_outputs(backbone)
        return keras.Model(outputs.pop("images"), outputs if declaration.layer else outputs["embedding"])
    if len(backbone.inputs) != 1:
        names = ", ".join(one.name for one in backbone.inputs)
        raise SourceError(f"Expected a network of images. Received: {type(backbone).__name__}, of {names}.")
    return keras.Model(backbone.inputs[0], backbone.output)


def _vision_outputs(backbone: Any) -> dict[str, Any]:
    """Return the input and the outputs of the image part of a network of images and texts."""
    images = load_keras().Input(backbone.vision_encoder.image_shape, name="images")
    tokens = backbone.vision_encoder({"images": images})
    outputs = {"images": images, "embedding": backbone.get_vision_embeddings(images)}
    if len(tokens.shape) == 3:
        outputs["tokens"] = tokens
    if hasattr(backbone, "vision_pooler"):
        outputs["pooled"] = backbone.vision_pooler(tokens)
    return outputs


def _pooling(backbone: Any) -> str | None:
    first = type(backbone).__name__ in _CLASS_TOKEN and getattr(backbone, "use_class_token", True)
    return "first" if first else None


def _own_size(folder: HubFolder) -> int | None:
    """Return height and width in the folder's configuration; None if any."""
    config = folder.config
    if folder.format is Format.KERAS:
        config = config["config"]
        config = config.get("vision_encoder", {}).get("config", config)
    shape = config.get("image_shape") if folder.format is Format.KERAS else config.get("image_size")
    side = shape[0] if isinstance(shape, list) and shape else shape
    return int(side) if isinstance(side, int) else None


def _converter(folder: HubFolder, declaration: Declaration) -> _Converter:
    converter = {
        Format.KERAS: _of_preset,
        Format.TRANSFORMERS: _of_transformers,
        Format.TIMM: _of_timm,
    }[folder.format](folder)
    if converter is not None:
        return converter
    if declaration.scale is None and not declaration.mean and not declaration.std:
        raise SourceError(
            f"The folder does not define how {folder.kind} scales pixels. Declare the settings scale, mean "
            "or std."
        )
    return _Converter()


def _of_preset(folder: HubFolder) -> _Converter | None:
    if folder.json(_CONVERTER) is None:
        return None
    general = load_keras_hub().layers.ImageConverter
    try:
        converter = general.from_preset(str(folder.path))
        if type(converter).call is not general.call:
            return None
        size = _side(converter.image_size)
    except SourceError:
        raise
    except Exception as error:  # damaged files end in nearly any
        raise SourceError(
            f"Expected an image converter in {_CONVERTER}. Received: {summary_of(error)}."
        ) from error
    return _Converter(
        size=size,
        crop=1.0,  # the converter crops the largest square
        scale=1.0 if converter.scale is None else converter.scale,
        offset=0.0 if converter.offset is None else converter.offset,
    )


def _of_transformers(folder: HubFolder) -> _Converter | None:
    """Return the preprocessing of Hugging Face's image processors: resize, crop, rescale, normalize."""
    processor: Mapping[str, Any] | None = folder.json(_PROCESSOR)
    if processor is None or ("image_mean" not in processor and processor.get("do_normalize", True)):
        return None
    resized, cropped = processor.get("size"), processor.get("crop_size")
    shorter = resized.get("shortest_edge") if isinstance(resized, dict) else resized
    cropping = processor.get("do_center_crop", False) and cropped is not None
    size = _side(cropped if cropping else resized)
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    normal = processor.get("do_normalize", True)
    mean, std = (processor["image_mean"], processor["image_std"]) if normal else (0.0, 1.0)
    return _normalizing(
        size=size,
        crop=size / shorter if cropping and size and isinstance(shorter, int) and shorter >= size else 1.0,
        factor=factor,
        mean=mean,
        std=std,
    )


def _of_timm(folder: HubFolder) -> _Converter | None:
    pretrained: Mapping[str, Any] = folder.config.get("pretrained_cfg") or {}
    if not {"input_size", "mean", "std"} <= set(pretrained):
        return None
    return _normalizing(
        size=_side(pretrained["input_size"][1:]),
        crop=float(pretrained.get("crop_pct") or CROP),
        factor=1 / 255,
        mean=pretrained["mean"],
        std=pretrained["std"],
    )


def _normalizing(*, size: int | None, crop: float, factor: float, mean: Any, std: Any) -> _Converter:
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    return _Converter(size=size, crop=crop, scale=factor / std, offset=-mean / std)


def _side(size: Any) -> int | None:
    """Return the height and width of square images, from any form in configurations."""
    if isinstance(size, dict):
        size = [size["height"], size["width"]] if "height" in size else size.get("shortest_edge")
    if size is None:
        return None
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1 or None in sides:
        raise SourceError(f"Expected a network of square images. Received: size {size}.")
    return int(sides.pop())
