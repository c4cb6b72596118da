"""Serves the variants with LitServe: one API that holds all of them, in as many workers as there are cores.

LitServe can also give each variant an API with its own processes: 50 variants would be 100 processes with
TensorFlow in each.
"""

from collections import defaultdict

import litserve
import numpy as np
from network import MAX_BATCH, Network, decode, read_settings


class Variants(litserve.LitAPI):
    """Classifies the file of a form by the variant that the form names."""

    def setup(self, device: str) -> None:
        """Load every variant."""
        settings = read_settings()
        self.networks = {name: Network(name, settings) for name in settings.variants}

    def decode_request(self, request):
        """The variant and the pixels."""
        return request["variant"], decode(request["image"].file.read())

    def batch(self, inputs: list) -> list:
        """Rows of one variant can be stacked, rows of several cannot: `predict` does it."""
        return inputs

    def predict(self, inputs: list) -> list:
        """Probabilities in the order of the inputs, one pass for each variant among them."""
        places = defaultdict(list)
        for place, (name, _) in enumerate(inputs):
            places[name].append(place)
        answers = [None] * len(inputs)
        for name, chosen in places.items():
            rows = self.networks[name].predict(np.stack([inputs[place][1] for place in chosen]))
            for place, row in zip(chosen, rows, strict=True):
                answers[place] = row
        return answers

    def unbatch(self, output: list) -> list:
        """Already one for each input."""
        return output

    def encode_response(self, output):
        """The answer as JSON."""
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    settings = read_settings()
    server = litserve.LitServer(
        Variants(max_batch_size=MAX_BATCH, batch_timeout=0.005),
        accelerator="cpu",
        workers_per_device=settings.workers,
    )
    server.run(host="127.0.0.1", port=settings.port, generate_client_file=False, log_level="warning")
