"""Text networks from folders in KerasHub's formats."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from headstart_server.backbones.contract.backbone import LAST, BackboneInfo, Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Texts
from headstart_server.backbones.preprocessing.texts import MAX_TOKENS
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.sources.hub_folder import Format, HubFolder, load_keras_hub, summary_of
from headstart_server.backbones.sources.hub_tokenizer import tokenizer_of
from headstart_server.backbones.sources.source import SourceError

#: Settings of texts that affect the features.
_OPTIONS = frozenset({"pooling", "layer"})
#: Changes whenever the layers added around a network compute other values.
_FORM = "hub-texts/1"
#: Files that affect the computation of a network, in addition to its configuration.
_SAYING = ("modules.json", "1_Pooling/config.json")
_POOLINGS = {"cls_token": "first", "max_tokens": "max", "mean_tokens": "avg"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sentence:
    """The conversion of tokens to one vector that a folder defines."""

    pooling: str = "avg"
    normalized: bool = False  # whether the vector has length 1
    max_tokens: int | None = None  # maximum tokens of a text; None if unspecified


def hub_texts(folder: HubFolder, declaration: Declaration) -> Network:
    """Open the text network in a folder.

    Its features are computed as the files of sentence-transformers define, if present, else as the mean over
    the tokens. With pooling ``none`` they are the network's pooled output. Raise SourceError if it is
    damaged, does not accept texts, or its tokenizer is of an unknown kind.
    """
    hub = load_keras_hub()
    for setting in ("size", "crop", "scale", "mean", "std", "channels"):
        if setting in declaration.given():
            raise SourceError(f"Expected settings of texts. Received: {setting}, a setting of images.")
    try:
        backbone = hub.models.Backbone.from_preset(str(folder.path))
    except Exception as error:  # damaged files end in nearly any
        raise SourceError(
            f"Expected a network that KerasHub {hub.__version__} loads. Received: {folder.kind}, "
            f"{summary_of(error)}."
        ) from error
    _use_exact_gelu(backbone, folder)
    words, sentence = tokenizer_of(folder), _sentence(folder)
    decoding = Texts(
        tokenizer=words.tokenizer,
        max_tokens=_max_tokens(backbone, declaration, sentence),
        pad_id=words.pad_id,
    )
    model = _model(backbone, declaration, sentence, words.pad_id)
    return Network(
        info=BackboneInfo(
            name=declaration.name,
            modality=Modality.TEXT,
            views={LAST: int(model.output[LAST].shape[-1])},
            input_size=(decoding.max_tokens,),
            parameter_count=int(sum(np.prod(weight.shape) for weight in model.weights)),
            source=declaration.source,
            license=declaration.license or "",
            description=declaration.description or f"{folder.kind} of {folder.format.value}.",
        ),
        model=model,
        decoding=decoding,
        weights=folder.weights(),
        identity={
            "architecture": [_FORM, folder.architecture(*_SAYING)],
            "declared": {name: value for name, value in declaration.given().items() if name in _OPTIONS},
            "max_tokens": decoding.max_tokens,
            "pad_id": decoding.pad_id,
            "tokenizer": sha256(decoding.tokenizer.encode()).hexdigest(),
            "preprocessing": decoding.preprocessing,
        },
    )


def _model(backbone: Any, declaration: Declaration, sentence: _Sentence, pad_id: int) -> Any:
    keras = load_keras()
    ops = keras.ops
    ids = keras.Input((None,), dtype="int32", name="ids")
    real = ops.cast(ops.not_equal(ids, pad_id), "int32")
    fed = {"token_ids": ids, "padding_mask": real, "segment_ids": ops.zeros_like(ids)}
    names = set(backbone.input) if isinstance(backbone.input, dict) else set()
    if not {"token_ids", "padding_mask"} <= names <= set(fed):
        raise SourceError(
            f"Expected a network of texts, of {', '.join(fed)}. Received: {type(backbone).__name__}, of "
            f"{', '.join(sorted(names)) or 'unnamed inputs'}."
        )
    values = _output(backbone, declaration)({name: fed[name] for name in names})
    features = ops.cast(_pooled(values, real, declaration.pooling or sentence.pooling), "float32")
    if sentence.normalized and declaration.layer is None:
        # Not `ops.norm`, because it fails on JAX with an axis.
        squares = ops.sum(ops.square(features), axis=-1, keepdims=True)
        features = features / ops.maximum(ops.sqrt(squares), 1e-12)
    model = keras.Model(ids, {LAST: features})
    model.trainable = False
    return model


def _output(backbone: Any, declaration: Declaration) -> Any:
    """Return the network up to the declared layer or output, by default its tokens or its pooled output."""
    keras = load_keras()
    outputs = backbone.output if isinstance(backbone.output, dict) else {"sequence_output": backbone.output}
    default = "pooled_output" if declaration.pooling == "none" else "sequence_output"
    name = declaration.layer or default
    layers = [layer.name for layer in backbone.layers]
    if name in outputs:
        return keras.Model(backbone.input, outputs[name])
    if name in layers:
        return keras.Model(backbone.input, backbone.get_layer(name).output)
    raise SourceError(f"Expected an output of {', '.join([*outputs, *layers])}. Received: {name!r}.")


def _pooled(values: Any, real: Any, pooling: str) -> Any:
    """Pool the tokens of each text that are not padding."""
    ops = load_keras().ops
    if len(values.shape) == 2:
        return values
    if len(values.shape) != 3 or pooling == "none":
        raise SourceError(
            f"Expected values that pooling {pooling!r} suits. Received: shape {list(values.shape)}."
        )
    if pooling == "first":
        return values[:, 0]
    values = ops.cast(values, "float32")
    kept = ops.cast(ops.expand_dims(real, -1), "float32")
    if pooling == "max":
        return ops.max(values - (1 - kept) * 1e9, axis=1)
    # A batch is filled with rows of only padding.
    return ops.sum(values * kept, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1.0)


def _use_exact_gelu(backbone: Any, folder: HubFolder) -> None:
    """Use the exact activation of a checkpoint instead of KerasHub's approximation."""
    if folder.format is not Format.TRANSFORMERS or folder.config.get("hidden_act") != "gelu":
        return
    keras = load_keras()
    for layer in backbone._flatten_layers():  # there is no public way to parts of a layer
        if getattr(getattr(layer, "activation", None), "__name__", "") == "gelu_approximate":
            layer.activation = keras.activations.gelu


def _max_tokens(backbone: Any, declaration: Declaration, sentence: _Sentence) -> int:
    own = getattr(backbone, "max_sequence_length", None)
    default = sentence.max_tokens or MAX_TOKENS
    tokens = declaration.max_tokens or min(default, own or default)
    if own is not None and tokens > own:
        raise SourceError(f"Expected at most {own} tokens, the network's limit. Received: {tokens}.")
    return int(tokens)


def _sentence(folder: HubFolder) -> _Sentence:
    """Read the files of sentence-transformers, if present."""
    modules = folder.json("modules.json")
    if modules is None:
        return _Sentence()
    pooling_config: Mapping[str, Any] = folder.json("1_Pooling/config.json") or {}
    modes = [mode.removeprefix("pooling_mode_") for mode, chosen in pooling_config.items() if chosen is True]
    chosen = [_POOLINGS.get(mode) for mode in modes if mode != "include_prompt"]
    if len(chosen) > 1 or None in chosen:
        raise SourceError(f"Expected one pooling of {', '.join(_POOLINGS)}. Received: {', '.join(modes)}.")
    types = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if not set(types) <= {"Transformer", "Pooling", "Normalize"}:
        raise SourceError(
            f"Expected modules Transformer, Pooling and Normalize. Received: {', '.join(types)}."
        )
    length = (folder.json("sentence_bert_config.json") or {}).get("max_seq_length")
    return _Sentence(
        pooling=next(iter(chosen), None) or "avg", normalized="Normalize" in types, max_tokens=length
    )
