"""BERT as a Keras model with one vector per text, and its weights under PyTorch's names.

Devlin, Chang, Lee & Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers" (NAACL 2019); the
pooling is that of Reimers & Gurevych, "Sentence-BERT" (EMNLP 2019).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import LAST, TAPS
from headstart_server.backbones.runtimes.keras_import import UNSET, load_keras
from headstart_server.backbones.sources.pytorch.checkpoint import CheckpointError

#: Changes whenever the network or its views compute other values.
ARCHITECTURE = "bert/1: ids int32, post-norm, gelu by erf, mean of tokens, views last and taps"

#: Subtracted from a padded token's score. Its weight is then exactly 0, even in bfloat16.
_MASKED = -1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class BertShape:
    """Sizes of a BERT network."""

    vocabulary: int  # number of token IDs
    positions: int  # maximum tokens of a text
    width: int  # numbers per token between layers
    inner: int  # numbers per token within a layer's second half
    heads: int
    layers: int
    epsilon: float = 1e-12
    pad_id: int = 0
    normalized: bool = True  # whether ``last`` has length 1
    taps: tuple[int, ...] = ()  # layers, from 1, whose pooled outputs form ``taps``; empty for no such view

    def view_sizes(self) -> dict[str, int]:
        """Size of each view."""
        return {LAST: self.width} | ({TAPS: self.width * len(self.taps)} if self.taps else {})


def build(shape: BertShape, state: Mapping[str, NDArray[np.generic]]) -> Any:
    """Build the network with weights of a PyTorch state dict.

    Returns:
        A Keras model from IDs, int32 [n, length] with length up to `positions`, to float32 views by name,
        [n, width], and for ``taps`` [n, width times number of taps].

    Raises:
        CheckpointError: a weight is missing or has an unexpected shape.
    """
    keras = load_keras()
    network = _Network(keras, shape, state)
    ids = keras.Input((None,), dtype="int32")
    real = keras.ops.not_equal(ids, shape.pad_id)
    x = network.embedding(ids)
    lowered = keras.ops.expand_dims(
        keras.ops.where(real, keras.ops.cast(0.0, x.dtype), keras.ops.cast(_MASKED, x.dtype)), (1, 2)
    )
    pooled = {}
    for layer in range(1, shape.layers + 1):
        x = network.layer(x, lowered, layer - 1)
        if layer in (*shape.taps, shape.layers):
            pooled[layer] = _mean(keras, x, real)
    last = pooled[shape.layers]
    if shape.normalized:
        # Not `ops.norm`, because it rejects a negative axis on JAX.
        length = keras.ops.sqrt(keras.ops.sum(keras.ops.square(last), axis=-1, keepdims=True))
        last = keras.ops.divide(last, keras.ops.maximum(length, 1e-12))
    views = {LAST: last}
    if shape.taps:
        views[TAPS] = keras.layers.Concatenate(dtype="float32")([pooled[layer] for layer in shape.taps])
    model = keras.Model(ids, views)
    model.trainable = False
    return model


def _mean(keras: Any, x: Any, real: Any) -> Any:
    """Average the tokens that are not padding, in float32."""
    weights = keras.ops.expand_dims(keras.ops.cast(real, "float32"), -1)
    total = keras.ops.sum(keras.ops.multiply(keras.ops.cast(x, "float32"), weights), axis=1)
    # A batch is filled with rows of only padding.
    return keras.ops.divide(total, keras.ops.maximum(keras.ops.sum(weights, axis=1), 1.0))


class _Network:
    """Adds layers to the graph, each with its weights from the state dict."""

    def __init__(self, keras: Any, shape: BertShape, state: Mapping[str, NDArray[np.generic]]) -> None:
        self._keras = keras
        self._shape = shape
        self._state = state

    def embedding(self, ids: Any) -> Any:
        """Add the normalized sum of each token's, its position's and the first segment's vector."""
        shape, ops = self._shape, self._keras.ops
        # Texts have one segment; its vector is added to the positions'.
        segment = self._weight("embeddings.token_type_embeddings.weight", (2, shape.width))[0]
        places = self._weight("embeddings.position_embeddings.weight", (shape.positions, shape.width))
        words = self._weight("embeddings.word_embeddings.weight", (shape.vocabulary, shape.width))
        place = ops.subtract(ops.cumsum(ops.ones_like(ids), axis=1), 1)
        x = ops.add(self._looked_up(ids, words, "words"), self._looked_up(place, places + segment, "places"))
        return self._normalized(x, "embeddings.LayerNorm")

    def layer(self, x: Any, lowered: Any, number: int) -> Any:
        """Add attention, then two products with a GELU between; the sum with the input is normalized."""
        name = f"encoder.layer.{number}"
        attended = self._attention(x, lowered, f"{name}.attention.self")
        attended = self._dense(attended, f"{name}.attention.output.dense", self._shape.width)
        x = self._normalized(self._keras.ops.add(attended, x), f"{name}.attention.output.LayerNorm")
        y = self._dense(x, f"{name}.intermediate.dense", self._shape.inner)
        y = self._keras.ops.gelu(y, approximate=False)
        y = self._dense(y, f"{name}.output.dense", self._shape.width)
        return self._normalized(self._keras.ops.add(y, x), f"{name}.output.LayerNorm")

    def _attention(self, x: Any, lowered: Any, name: str) -> Any:
        ops, width, heads = self._keras.ops, self._shape.width, self._shape.heads
        split = self._keras.layers.Reshape((-1, heads, width // heads))
        query, key, value = (
            split(self._dense(x, f"{name}.{part}", width)) for part in ("query", "key", "value")
        )
        scores = ops.matmul(ops.transpose(query, (0, 2, 1, 3)), ops.transpose(key, (0, 2, 3, 1)))
        scores = ops.multiply(scores, (width // heads) ** -0.5)
        weights = ops.softmax(ops.add(scores, lowered), axis=-1)
        attended = ops.transpose(ops.matmul(weights, ops.transpose(value, (0, 2, 1, 3))), (0, 2, 1, 3))
        return self._keras.layers.Reshape((-1, width))(attended)

    def _dense(self, x: Any, name: str, units: int) -> Any:
        layer = self._keras.layers.Dense(units, kernel_initializer=UNSET, name=_layer(name))
        y = layer(x)
        kernel = self._weight(f"{name}.weight", (units, x.shape[-1]))
        layer.set_weights([kernel.T, self._weight(f"{name}.bias", (units,))])
        return y

    def _normalized(self, x: Any, name: str) -> Any:
        layer = self._keras.layers.LayerNormalization(epsilon=self._shape.epsilon, name=_layer(name))
        y = layer(x)
        width = (self._shape.width,)
        layer.set_weights([self._weight(f"{name}.weight", width), self._weight(f"{name}.bias", width)])
        return y

    def _looked_up(self, ids: Any, table: NDArray[np.float32], name: str) -> Any:
        layer = self._keras.layers.Embedding(*table.shape, embeddings_initializer=UNSET, name=name)
        y = layer(ids)
        layer.set_weights([table])
        return y

    def _weight(self, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
        weight = self._state.get(name)
        if weight is None:
            raise CheckpointError(f"Weight {name} of shape {tuple(shape)} is missing. Choose another file.")
        if weight.shape != tuple(shape):
            raise CheckpointError(
                f"Expected weight {name} of shape {tuple(shape)}. Received: {weight.shape}."
            )
        return weight.astype(np.float32)


def _layer(name: str) -> str:
    return name.removeprefix("encoder.").replace(".", "_")
