"""Training of a tail with a linear head in Keras, on the active backend."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.backbones.contract.tail import Float32, TailPlan
from headstart_server.backbones.contract.tail_training import (
    Ints,
    Loss,
    TailEpoch,
    TailRequest,
    TailResult,
    TrainingStop,
)
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.runtimes.keras_tail import taken
from headstart_server.storage.disk import storage_errors

_HEAD = "linear_head"
#: Factors of scores, of which the best is used to compute the loss.
_SCALES = tuple(float(scale) for scale in np.geomspace(1 / 8, 2, 17))
#: Fraction of the learning rate in the first step.
_FIRST = 0.05
#: Maximum number of examples of a forward pass. Batches are filled up to it, or to the number of examples.
_FORWARD = 64
#: Weights and the optimizer's moments, as arrays.
_State = list[NDArray[np.generic]]


class _TimeIsUpError(Exception):
    """The time budget ended within an epoch."""


def train(
    network: Any,
    plan: TailPlan,
    request: TailRequest,
    *,
    progress: Callable[[TailEpoch], None],
    checkpoint: Callable[[], None],
) -> TailResult:
    """Train a tail.

    Batch norms are folded into the convolutions of these networks, so their statistics stay frozen.

    Args:
        network: backbone as a float32 Keras model; its last layers are modified.
        progress: receives each epoch.
        checkpoint: called at each step; may raise to stop.
    """
    late = time.monotonic() + request.seconds if request.seconds is not None else float("inf")

    def step() -> None:
        checkpoint()
        if time.monotonic() >= late:
            raise _TimeIsUpError

    model = _Networks(network, plan, request, checkpoint)
    outputs = model.judged(checkpoint)
    losses = [mean_loss(outputs, request)]
    best, result = 0, (outputs, model.of_all())
    progress(TailEpoch(number=0, loss=losses[0]))
    stop = TrainingStop.STEPS
    for epoch in range(1, request.max_epochs + 1):
        try:
            model.train(epoch, step)
            outputs = model.judged(step)
        except _TimeIsUpError:
            stop = TrainingStop.TIME
            break
        losses.append(mean_loss(outputs, request))
        progress(TailEpoch(number=epoch, loss=losses[-1]))
        if losses[-1] < losses[best]:
            best, result = epoch, (outputs, model.of_all())
        elif epoch - best >= request.patience:
            stop = TrainingStop.CONVERGED
            break
    outputs, state = result
    head, tail = model.parts(state)
    return TailResult(epoch=best, losses=tuple(losses), stop=stop, outputs=outputs, head=head, tail=tail)


def mean_loss(outputs: Float32, request: TailRequest) -> float:
    """Return the weighted mean loss of outputs [N, C] on the request's targets.

    For classes, the best temperature is used: the network becomes more confident with each epoch, and the
    temperature is fitted later.
    """
    scales = (1.0,) if request.loss is Loss.SQUARED else _SCALES
    return min(_mean_loss(scale * outputs, request) for scale in scales)


def _mean_loss(outputs: Float32, request: TailRequest) -> float:
    exact, targets = outputs.astype(np.float64), request.targets.astype(np.float64)
    if request.loss is Loss.SOFTMAX:
        shifted = exact - exact.max(axis=1, keepdims=True)
        errors = targets * (np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted)
    elif request.loss is Loss.SIGMOID:
        errors = np.maximum(exact, 0) - exact * targets + np.log1p(np.exp(-np.abs(exact)))
    else:
        errors = np.square(exact - targets)
    return float(np.average(errors.sum(axis=1), weights=request.weights))


class _Networks:
    """The K + 1 networks: one Keras model whose weights are swapped."""

    def __init__(
        self, network: Any, plan: TailPlan, request: TailRequest, checkpoint: Callable[[], None]
    ) -> None:
        self._network, self._plan, self._request = network, plan, request
        boundary = network.get_layer(plan.layers[0]).input
        self._activations = _at(network, plan, boundary, request, checkpoint)
        self._model = _trained(network, plan, boundary, request)
        self._head = self._model.get_layer(_HEAD)
        self._variables = [*self._model.trainable_variables, *self._model.optimizer.variables]
        start = self._taken()
        self._states = [self._begun(start, head) for head in request.heads]

    def train(self, epoch: int, step: Callable[[], None]) -> None:
        request = self._request
        for member in range(len(self._states)):
            self._put(self._states[member])
            seen = np.flatnonzero(request.folds != member)
            order = np.random.default_rng([request.seed, epoch, member]).permutation(seen)
            steps = -(-len(seen) // request.batch)
            for place, (batch, real) in enumerate(_batches(order, request.batch), (epoch - 1) * steps):
                step()
                self._set_rate(place / steps)
                weights = request.weights[batch] * real / request.batch
                self._model.train_on_batch(self._inputs(batch), request.targets[batch], weights)
            self._states[member] = self._taken()

    def _set_rate(self, epochs: float) -> None:
        """Set the learning rate of an epoch: it rises during the first one, and then falls to zero.

        Adam's first steps are as large as later ones, although it has no good estimate of the gradients'
        variance yet. Without the rise, they would undo the initial head.
        """
        request = self._request
        left = (request.max_epochs - epochs) / max(request.max_epochs - 1, 1)
        self._model.optimizer.learning_rate.assign(request.learning_rate * min(epochs + _FIRST, left, 1.0))

    def judged(self, step: Callable[[], None]) -> Float32:
        """Return the output of each example by the network that was trained without it, [N, C]."""
        request = self._request
        outputs = np.zeros(request.targets.shape, np.float32)
        forward = min(_FORWARD, len(outputs))
        for member in range(len(self._states) - 1):
            self._put(self._states[member])
            for batch, real in _batches(np.flatnonzero(request.folds == member), forward):
                step()
                answered = np.asarray(self._model.predict_on_batch(self._inputs(batch)))
                outputs[batch[real]] = answered[real]
        return outputs

    def of_all(self) -> _State:
        return self._states[-1]

    def parts(self, state: _State) -> tuple[Float32, Any]:
        self._put(state)
        weights, bias = self._head.get_weights()
        return np.vstack([weights, bias]), taken(self._network, self._plan)

    def _inputs(self, batch: Ints) -> list[Float32]:
        request = self._request
        activations = self._activations[request.rows[batch]].astype(np.float32)
        return [activations, request.fixed_features[batch]]

    def _begun(self, start: _State, head: Float32) -> _State:
        self._put(start)
        self._head.set_weights([head[:-1], head[-1]])
        return self._taken()

    def _taken(self) -> _State:
        return [np.array(variable) for variable in self._variables]

    def _put(self, state: _State) -> None:
        for variable, values in zip(self._variables, state, strict=True):
            variable.assign(values)


def _at(
    network: Any, plan: TailPlan, boundary: Any, request: TailRequest, checkpoint: Callable[[], None]
) -> NDArray[np.floating]:
    """Compute activations at the first trained layer; earlier blocks stay frozen."""
    with storage_errors(writes=False):
        given: NDArray[np.floating] = np.load(request.activations, mmap_mode="r")
    cut = network.output[plan.cut.name]
    if boundary is cut:
        return given
    between = load_keras().Model(cut, boundary)
    found = np.empty((len(given), *boundary.shape[1:]), given.dtype)
    for batch, real in _batches(np.arange(len(given)), min(_FORWARD, len(given))):
        checkpoint()
        passed = np.asarray(between.predict_on_batch(given[batch].astype(np.float32)))
        found[batch[real]] = passed[real]
    return found


def _trained(network: Any, plan: TailPlan, boundary: Any, request: TailRequest) -> Any:
    keras = load_keras()
    tail = keras.Model(boundary, network.output[LAST])
    for layer in tail.layers:
        layer.trainable = layer.name in plan.layers
    rows = keras.Input(boundary.shape[1:])
    fixed = keras.Input((request.fixed_features.shape[1],))
    features = keras.layers.Concatenate()([fixed, tail(rows)])
    outputs = keras.layers.Dense(request.targets.shape[1], name=_HEAD)(features)
    model = keras.Model([rows, fixed], outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(request.learning_rate),
        loss=_loss(request.loss),
        # JAX runs operations one by one unless the step is compiled; TensorFlow always has a graph.
        jit_compile=keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _loss(loss: Loss) -> Any:
    losses = load_keras().losses
    match loss:
        case Loss.SOFTMAX:
            return losses.CategoricalCrossentropy(from_logits=True, reduction="sum")
        case Loss.SIGMOID:
            return losses.BinaryCrossentropy(from_logits=True, reduction="sum")
        case Loss.SQUARED:
            return losses.MeanSquaredError(reduction="sum")


def _batches(order: Ints, size: int) -> Iterator[tuple[Ints, NDArray[np.bool_]]]:
    """Return indices in equal batches, so that one program runs them all, and masks of the real ones."""
    for start in range(0, len(order), size):
        part = order[start : start + size]
        real = np.arange(size) < len(part)
        yield np.resize(part, size), real
