"""The calls of `kserve`'s gRPC client; prints what came back as JSON.

Arguments: the server's address, a model, and files of images.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

target, model, *files = sys.argv[1:]
images = [Path(name).read_bytes() for name in files]


def fields_of(response):
    outputs = {output.name: np.array(output.as_numpy()) for output in response.outputs}
    return {
        "id": response.id,
        "probabilities": outputs["probabilities"].ravel().tolist(),
        "label": [each.decode() if isinstance(each, bytes) else each for each in outputs["label"].ravel()],
    }


async def main():
    client = InferenceGRPCClient(target)
    typed = InferInput("images", [len(images)], "BYTES", data=images)
    raw = InferInput("images", [len(images)], "BYTES")
    raw.set_data_from_numpy(np.array(images, dtype=np.object_), binary_data=True)
    result = {
        "live": await client.is_server_live(),
        "ready": await client.is_server_ready(),
        "model_ready": [await client.is_model_ready(model), await client.is_model_ready("missing")],
        "typed": fields_of(await client.infer(InferRequest(model, [typed], request_id="eight"))),
        "raw": fields_of(await client.infer(InferRequest(model, [raw], request_id="nine"))),
    }
    await client.close()
    print(json.dumps(result))


asyncio.run(main())
