"""PredictionService of TensorFlow Serving's API."""

from collections.abc import Callable, Sequence
from functools import partial

from headstart_server.api.compat import tensorflow_pb2 as tf
from headstart_server.api.compat import tensorflow_serving_pb2 as pb
from headstart_server.api.compat.compat_predictor import CompatPredictor, ResolvedVersion
from headstart_server.api.compat.outputs import Output, chosen, outputs_of, values_of
from headstart_server.api.compat.tensor_protos import (
    DTYPES,
    examples_of,
    inputs_of,
    output_message,
    shape_message,
)
from headstart_server.api.compat.tensorflow_model_service import (
    DEFAULT_SIGNATURE,
    check_signature,
    selector_of,
    spec_message,
)
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.messages.predictions import encoded
from headstart_server.api.grpc.requests.request_parsing import request_bytes
from headstart_server.backbones.contract.backbone import Content, Modality
from headstart_server.errors import InvalidField, WrongTask
from headstart_server.learning.examples.task import Task
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.prediction.predict_options import check_listed
from headstart_server.prediction.predictor import MAX_TARGETS
from headstart_server.prediction.version_prediction import VersionPrediction

INPUT = "inputs"
_METADATA = "signature_def"
_CLASSIFY, _REGRESS = "classify", "regress"
_CLASSIFY_METHOD, _REGRESS_METHOD = "tensorflow/serving/classify", "tensorflow/serving/regress"


class TensorFlowPredictionService:
    """Serve models of the registry as servables, with versions by number and aliases by label."""

    def __init__(self, predictor: CompatPredictor) -> None:
        self._predictor = predictor

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        check_signature(request.model_spec, [DEFAULT_SIGNATURE])
        with self._predictor.call(context) as router:
            return await self._predicted(request, context, router)

    async def _predicted(
        self, request: pb.PredictRequest, context: Context, router: TrafficRouter
    ) -> pb.PredictResponse:
        found = await self._predictor.find(selector_of(request.model_spec), router, request_bytes)
        outputs = chosen(found.version.head, list(request.output_filter), "output_filter")
        if len(request.inputs) != 1:
            names = sorted(request.inputs)[:10]
            raise InvalidField(
                f"Expected one input, such as '{INPUT}'. Received: {names}.",
                field="inputs",
            )
        ((name, tensor),) = request.inputs.items()
        contents = await inputs_of(tensor, name, found.backbone, self._predictor.max_inputs)
        answer = await self._predictor.answer(found, contents, context)
        return await encoded(partial(_predict_response, found, answer, outputs), [answer])

    async def Classify(
        self, request: pb.ClassificationRequest, context: Context
    ) -> pb.ClassificationResponse:
        check_signature(request.model_spec, [DEFAULT_SIGNATURE, _CLASSIFY])
        with self._predictor.call(context) as router:
            found = await self._predictor.find(selector_of(request.model_spec), router, request_bytes)
            _check_task(found, is_regression=False)
            contents = await self._contents(request.input, found)
            answer = await self._predictor.answer(found, contents, context)
        return pb.ClassificationResponse(
            model_spec=spec_message(found, request.model_spec.signature_name or DEFAULT_SIGNATURE),
            result=await encoded(partial(_classified, answer), [answer]),
        )

    async def Regress(self, request: pb.RegressionRequest, context: Context) -> pb.RegressionResponse:
        check_signature(request.model_spec, [DEFAULT_SIGNATURE, _REGRESS])
        with self._predictor.call(context) as router:
            found = await self._predictor.find(selector_of(request.model_spec), router, request_bytes)
            _check_task(found, is_regression=True)
            contents = await self._contents(request.input, found)
            answer = await self._predictor.answer(found, contents, context)
        return pb.RegressionResponse(
            model_spec=spec_message(found, request.model_spec.signature_name or DEFAULT_SIGNATURE),
            result=_regressed(answer),
        )

    async def MultiInference(
        self, request: pb.MultiInferenceRequest, context: Context
    ) -> pb.MultiInferenceResponse:
        """Predict the same examples with several versions; versions on one backbone share its pass."""
        if not 1 <= len(request.tasks) <= MAX_TARGETS:
            raise InvalidField(
                f"Expected 1 to {MAX_TARGETS} tasks. Received: {len(request.tasks)}.", field="tasks"
            )
        with self._predictor.call(context) as router:
            return await self._inferred(request, context, router)

    async def _inferred(
        self, request: pb.MultiInferenceRequest, context: Context, router: TrafficRouter
    ) -> pb.MultiInferenceResponse:
        found = [await self._find_task(task, router, request_bytes) for task in request.tasks]
        modalities = {each.backbone.modality: None for each in found}
        if len(modalities) > 1:
            raise InvalidField(
                "Expected tasks of versions that take the same kind of input. Received: "
                f"{' and '.join(modality.value for modality in modalities)}.",
                field="tasks",
            )
        contents = await self._contents(request.input, found[0])
        answers = await self._predictor.answers(found, contents, context)
        check_listed(sum(answer.indexes.size for answer in answers), len(answers[0].outputs))
        return await encoded(partial(_results, request, found, answers), answers)

    async def _find_task(
        self, task: pb.InferenceTask, router: TrafficRouter, nbytes: Callable[[], int]
    ) -> ResolvedVersion:
        if task.method_name not in (_CLASSIFY_METHOD, _REGRESS_METHOD):
            raise InvalidField(
                f"Expected a method_name of {_CLASSIFY_METHOD} or {_REGRESS_METHOD}. Received: "
                f"{task.method_name[:80]!r}.",
                field="tasks.method_name",
            )
        is_regression = task.method_name == _REGRESS_METHOD
        check_signature(task.model_spec, [DEFAULT_SIGNATURE, _REGRESS if is_regression else _CLASSIFY])
        found = await self._predictor.find(selector_of(task.model_spec), router, nbytes)
        _check_task(found, is_regression=is_regression)
        return found

    async def GetModelMetadata(
        self, request: pb.GetModelMetadataRequest, context: Context
    ) -> pb.GetModelMetadataResponse:
        fields = list(request.metadata_field)
        if fields != [_METADATA]:
            raise InvalidField(
                f"metadata_field must have the single entry '{_METADATA}'. Received: {fields[:10]}.",
                field="metadata_field",
            )
        found = await self._predictor.find(selector_of(request.model_spec), None, request_bytes)
        response = pb.GetModelMetadataResponse(model_spec=spec_message(found, ""))
        response.metadata[_METADATA].Pack(_signatures(found))
        return response

    async def _contents(self, message: pb.Input, found: ResolvedVersion) -> list[Content]:
        kind = message.WhichOneof("kind")
        if kind == "example_list_with_context":
            raise InvalidField(
                "Examples with a context are not supported. Send the input as an example_list.",
                field="input",
            )
        examples = message.example_list.examples
        return await examples_of(examples, found.backbone, self._predictor.max_inputs)


def _predict_response(
    found: ResolvedVersion, answer: VersionPrediction, outputs: Sequence[Output]
) -> pb.PredictResponse:
    return pb.PredictResponse(
        model_spec=spec_message(found, DEFAULT_SIGNATURE),
        outputs={each.name: output_message(each.kind, values_of(answer, each)) for each in outputs},
    )


def _check_task(found: ResolvedVersion, *, is_regression: bool) -> None:
    task = found.version.head.task
    if (task is Task.REGRESSION) != is_regression:
        kind, other = ("numbers", "Classify") if is_regression else ("classes", "Regress")
        raise WrongTask(
            f"Expected a version that predicts {kind}. Received: version {found.version.number} of model "
            f"'{found.version.model}', of task {task.value}. Call {other}, or Predict.",
            field="model_spec",
        )


def _results(
    request: pb.MultiInferenceRequest, found: Sequence[ResolvedVersion], answers: Sequence[VersionPrediction]
) -> pb.MultiInferenceResponse:
    return pb.MultiInferenceResponse(
        results=[
            _result(task, each, answer)
            for task, each, answer in zip(request.tasks, found, answers, strict=True)
        ]
    )


def _result(task: pb.InferenceTask, found: ResolvedVersion, answer: VersionPrediction) -> pb.InferenceResult:
    spec = spec_message(found, task.model_spec.signature_name or DEFAULT_SIGNATURE)
    if task.method_name == _REGRESS_METHOD:
        return pb.InferenceResult(model_spec=spec, regression_result=_regressed(answer))
    return pb.InferenceResult(model_spec=spec, classification_result=_classified(answer))


def _regressed(answer: VersionPrediction) -> pb.RegressionResult:
    values = [] if answer.values is None else answer.values.tolist()
    return pb.RegressionResult(regressions=[pb.Regression(value=value) for value in values])


def _classified(answer: VersionPrediction) -> pb.ClassificationResult:
    return pb.ClassificationResult(classifications=_classifications(answer))


def _classifications(answer: VersionPrediction) -> Sequence[pb.Classifications]:
    """Return all classes of each input, the most probable first; raise InvalidField if they are too many."""
    check_listed(answer.indexes.size, len(answer.outputs))
    names = answer.version.head.class_names
    ranked = zip(answer.indexes.tolist(), answer.probabilities.tolist(), strict=True)
    return [
        pb.Classifications(
            classes=[
                pb.Class(label=names[index], score=probability)
                for index, probability in zip(indexes, probabilities, strict=True)
            ]
        )
        for indexes, probabilities in ranked
    ]


def _signatures(found: ResolvedVersion) -> pb.SignatureDefMap:
    """Return the signatures of Predict, and of the method for examples."""
    is_features = found.backbone.modality is Modality.TENSOR
    takes = tf.TensorInfo(
        name=f"{INPUT}:0",
        dtype=tf.DT_FLOAT if is_features else tf.DT_STRING,
        tensor_shape=shape_message([-1, *found.backbone.input_size] if is_features else [-1]),
    )
    gives = {
        output.name: tf.TensorInfo(
            name=f"{output.name}:0",
            dtype=DTYPES[output.kind],
            tensor_shape=shape_message([-1] if output.classes is None else [-1, output.classes]),
        )
        for output in outputs_of(found.version.head)
    }
    name = _REGRESS if found.version.head.task is Task.REGRESSION else _CLASSIFY
    examples = tf.TensorInfo(name=f"{INPUT}:0", dtype=tf.DT_STRING, tensor_shape=shape_message([-1]))
    return pb.SignatureDefMap(
        signature_def={
            DEFAULT_SIGNATURE: tf.SignatureDef(
                inputs={INPUT: takes}, outputs=gives, method_name="tensorflow/serving/predict"
            ),
            name: tf.SignatureDef(
                inputs={INPUT: examples}, outputs=gives, method_name=f"tensorflow/serving/{name}"
            ),
        }
    )
