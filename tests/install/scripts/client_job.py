"""Fine-tunes and predicts with the client alone: client_job.py TARGET FOLDER FILE... prints the labels."""

import json
import sys
import time

from headstart import Client


def main(target: str, folder: str, *files: str) -> None:
    """Fine-tune on a folder, and predict files twice."""
    began = time.perf_counter()
    with Client(target) as client:
        version = client.fine_tune(folder, model="client").result()
        predictions = [(each.label, each.probability) for each in client.predict(list(files), model="client")]
        cold = time.perf_counter() - began
        began = time.perf_counter()
        again = [(each.label, each.probability) for each in client.predict(list(files), model="client")]
        warm = time.perf_counter() - began
    assert version.version == 1, version
    assert again == predictions, (predictions, again)
    print(json.dumps({"labels": [label for label, _ in predictions], "cold": cold, "warm": warm}))


if __name__ == "__main__":
    main(*sys.argv[1:])
