"""The calls of `tensorflow-serving-api` that Headstart answers; prints what came back as JSON.

Arguments: the server's address, a model, an alias of it, and files of images.
"""

import json
import sys
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

target, model, alias, *files = sys.argv[1:]
channel = grpc.insecure_channel(target)
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
models = model_service_pb2_grpc.ModelServiceStub(channel)
contents = [Path(name).read_bytes() for name in files]


def predict(tensor, **spec):
    request = predict_pb2.PredictRequest(output_filter=spec.pop("outputs", []))
    named(request, **spec)
    request.inputs["inputs"].CopyFrom(tensor)
    return stub.Predict(request, timeout=30)


def named(request, name=model, version=None, label=None):
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


def with_examples(request):
    for image in contents:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
        example = tf.train.Example(features=tf.train.Features(feature={"image": feature}))
        request.input.example_list.examples.append(example)
    return request


def fields_of(response):
    return {
        "version": response.model_spec.version.value,
        "probabilities": tf.make_ndarray(response.outputs["probabilities"]).tolist(),
        "label": [each.decode() for each in tf.make_ndarray(response.outputs["label"])],
    }


def error_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return None


def several(*tasks):
    request = with_examples(inference_pb2.MultiInferenceRequest())
    for method, spec in tasks:
        named(request.tasks.add(method_name=f"tensorflow/serving/{method}"), **spec)
    return stub.MultiInference(request, timeout=30)


def classes_of(result):
    return [[[each.label, each.score] for each in classes.classes] for classes in result.classifications]


images = tf.make_tensor_proto(contents)
both = several(("classify", {}), ("classify", {"label": alias}))
classified = stub.Classify(with_examples(named(classification_pb2.ClassificationRequest())), timeout=30)
request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
metadata = stub.GetModelMetadata(named(request), timeout=30)
signatures = get_model_metadata_pb2.SignatureDefMap()
metadata.metadata["signature_def"].Unpack(signatures)
default = signatures.signature_def["serving_default"]
status = models.GetModelStatus(named(get_model_status_pb2.GetModelStatusRequest()), timeout=30)

print(
    json.dumps(
        {
            "newest": fields_of(predict(images)),
            "numbered": fields_of(predict(images, version=1)),
            "labeled": fields_of(predict(images, label=alias)),
            "filtered": sorted(predict(images, outputs=["label"]).outputs),
            "classified": classes_of(classified.result),
            "both": [
                [each.model_spec.version.value, classes_of(each.classification_result)]
                for each in both.results
            ],
            "inputs": {name: tf.dtypes.as_dtype(info.dtype).name for name, info in default.inputs.items()},
            "outputs": {
                name: [tf.dtypes.as_dtype(info.dtype).name, [dim.size for dim in info.tensor_shape.dim]]
                for name, info in default.outputs.items()
            },
            "methods": {name: each.method_name for name, each in signatures.signature_def.items()},
            "status": [[each.version, each.state] for each in status.model_version_status],
            "errors": {
                "model": error_of(lambda: predict(images, name="missing")),
                "label": error_of(lambda: predict(images, label="missing")),
                "version": error_of(lambda: predict(images, version=99)),
                "dtype": error_of(lambda: predict(tf.make_tensor_proto([True]))),
                "output": error_of(lambda: predict(images, outputs=["logits"])),
                "regress": error_of(
                    lambda: stub.Regress(with_examples(named(regression_pb2.RegressionRequest())))
                ),
                "regress among several": error_of(lambda: several(("classify", {}), ("regress", {}))),
                "other method": error_of(lambda: several(("predict", {}))),
                "no task": error_of(several),
                "reload": error_of(
                    lambda: models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
                ),
            },
        }
    )
)
