"""A network in memory that a source has opened."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart_server.backbones.contract.backbone import LAST, BackboneInfo, Views
from headstart_server.backbones.networks.golden import Golden, golden_content
from headstart_server.backbones.preprocessing.decoding import Decoding
from headstart_server.backbones.preprocessing.images import MAX_PIXELS
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.runtimes.openvino_import import load_openvino


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A network that a source has opened."""

    info: BackboneInfo  # metadata, with the sizes of all views
    # from decoded rows to views by name, float32 [n, size]: a Keras model, or an `openvino.Model` with
    # outputs of these names; None if the rows are the features
    model: Any
    decoding: Decoding
    weights: str  # SHA-256 of its weights in hexadecimal, or of their single file; a declaration may pin it
    # everything else that determines its features: architecture, scaling, preprocessing. With the weights it
    # makes the digest
    identity: Mapping[str, Any]
    # features of the original network; None to compute them with this network in float32
    golden: Golden | None = None

    def run_golden(self) -> Views:
        """Return the views of the synthetic input by the network itself, [1, size] each."""
        decoder = self.decoding.decoder(max_pixels=MAX_PIXELS)
        row = decoder.decode(golden_content(self.info.modality, self.info.views[LAST]))[None]
        if self.model is None:
            return {LAST: row.astype(np.float32)}
        openvino = load_openvino()
        if isinstance(self.model, openvino.Model):
            compiled = openvino.compile_model(self.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            views = compiled(row)
            return {output.get_any_name(): views[output] for output in compiled.outputs}
        outputs = self.model(row, training=False)
        return {name: load_keras().ops.convert_to_numpy(outputs[name]) for name in self.info.views}
