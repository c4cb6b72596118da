"""Computes with an exported version: exported.py FORM PATH ROWS.npy prints its probabilities as JSON.

Each form runs in its own runtime. Prints `null` if that runtime is not installed.
"""

import json
import os
import sys

import numpy as np


def keras(path, rows):
    import keras

    return np.asarray(keras.models.load_model(path, safe_mode=True)(rows)["probabilities"])


def savedmodel(path, rows):
    import tensorflow as tf

    answer = tf.saved_model.load(path).signatures["serving_default"]
    return answer(images=tf.constant(rows))["probabilities"].numpy()


def onnx(path, rows):
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(["probabilities"], {"images": rows})[0]


def openvino(path, rows):
    import openvino

    network = openvino.Core().compile_model(f"{path}/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return network({"images": rows})["probabilities"]


def litert(path, rows):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(taken["index"], rows.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], rows)
    interpreter.invoke()
    return interpreter.get_tensor(given["index"]).copy()


def main(form: str, path: str, rows: str) -> None:
    """Print the probabilities of rows of pixels."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        probabilities = globals()[form](path, np.load(rows)).tolist()
    except ModuleNotFoundError:
        probabilities = None
    print(json.dumps(probabilities))


if __name__ == "__main__":
    main(*sys.argv[1:])
