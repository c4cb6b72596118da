"""Every call of `tritonclient` that Headstart answers; prints what came back as JSON.

Arguments: the server's address, a model, an alias of it, a model of six features, and files of images.
"""

import json
import queue
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

target, model, alias, features, *files = sys.argv[1:]
client = triton.InferenceServerClient(target)
contents = np.array([[Path(name).read_bytes()] for name in files], dtype=np.object_)


def tensor(name, array, datatype):
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def error_of(call):
    try:
        call()
    except InferenceServerException as error:
        return [str(error.status()), error.message()]
    return None


def in_shared_memory(made):
    made.set_shared_memory("corner", 16)
    return made


def statistics(*arguments):
    return client.get_inference_statistics(*arguments, as_json=True)["model_stats"]


images = tensor("input", contents, "BYTES")
before = statistics(f"{model}@{alias}")
answer = client.infer(model, [images], request_id="seven", client_timeout=30)
wanted = [triton.InferRequestedOutput("label"), triton.InferRequestedOutput("probabilities", class_count=2)]
chosen = client.infer(f"{model}@{alias}", [images], outputs=wanted, timeout=20_000_000)
# Exact in bfloat16.
rows = np.arange(12, dtype=np.float32).reshape(2, 6)
halves = client.infer(features, [tensor("input", rows.astype(ml_dtypes.bfloat16), "BF16")])
whole = client.infer(features, [tensor("input", rows, "FP32")])
undecodable = tensor("input", np.array([b"no image"], dtype=np.object_), "BYTES")
error_of(lambda: client.infer(f"{model}@{alias}", [undecodable]))
after = statistics(model, "1")
answers = queue.Queue()
with triton.InferenceServerClient(target) as streaming:
    streaming.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(40):
        name = "missing" if number == 20 else model
        streaming.async_stream_infer(name, [images], request_id=str(number))
    streamed = [answers.get(timeout=60) for _ in range(40)]
    streaming.stop_stream()

print(
    json.dumps(
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": [
                client.is_model_ready(model),
                client.is_model_ready(model, "1"),
                client.is_model_ready(model, "99"),
                client.is_model_ready("missing"),
            ],
            "server": client.get_server_metadata(as_json=True),
            "model": client.get_model_metadata(model, as_json=True),
            "config": client.get_model_config(model, as_json=True),
            "index": client.get_model_repository_index(as_json=True),
            "answer": {
                "id": answer.get_response().id,
                "name": answer.get_response().model_name,
                "version": answer.get_response().model_version,
                "probabilities": answer.as_numpy("probabilities").tolist(),
                "label": [each.decode() for each in answer.as_numpy("label")],
            },
            "chosen": {
                "outputs": [output.name for output in chosen.get_response().outputs],
                "classes": [[each.decode() for each in row] for row in chosen.as_numpy("probabilities")],
            },
            "bfloat16": [halves.as_numpy("value").tolist(), whole.as_numpy("value").tolist()],
            "statistics": {
                "before": before,
                "after": after,
                "model": statistics(model),
                "all": statistics(),
            },
            "regions": client.get_system_shared_memory_status(as_json=True),
            "unregistered": client.unregister_system_shared_memory(),
            "streamed": [
                [result.get_response().id, [each.decode() for each in result.as_numpy("label")]]
                if error is None
                else ["", str(error)]
                for result, error in streamed
            ],
            "loaded": client.load_model(model),
            "errors": {
                "model": error_of(lambda: client.infer("missing", [images])),
                "alias": error_of(lambda: client.infer(f"{model}@missing", [images])),
                "version": error_of(lambda: client.infer(model, [images], model_version="newest")),
                "output": error_of(
                    lambda: client.infer(model, [images], outputs=[triton.InferRequestedOutput("logits")])
                ),
                "datatype": error_of(
                    lambda: client.infer(model, [tensor("input", np.ones((1, 3), np.float32), "FP32")])
                ),
                "bytes": error_of(lambda: client.infer(model, [undecodable])),
                "input in shared memory": error_of(
                    lambda: client.infer(model, [in_shared_memory(tensor("input", contents, "BYTES"))])
                ),
                "output in shared memory": error_of(
                    lambda: client.infer(
                        model, [images], outputs=[in_shared_memory(triton.InferRequestedOutput("label"))]
                    )
                ),
                "region": error_of(lambda: client.register_system_shared_memory("corner", "/corner", 16)),
                "cuda region": error_of(
                    lambda: client.register_cuda_shared_memory("corner", b"aGFuZGxl", 0, 16)
                ),
                "statistics": error_of(lambda: statistics("missing")),
                "unload": error_of(lambda: client.unload_model(model)),
            },
        }
    )
)
