"""What a source gives: a network in memory, with all that is known about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart_server.backbones.backbone import LAST, BackboneInfo, Views
from headstart_server.backbones.decoding import Decoding
from headstart_server.backbones.golden import Golden, golden_content
from headstart_server.backbones.keras_import import load_keras
from headstart_server.backbones.openvino_import import load_openvino
from headstart_server.backbones.pictures import MAX_PIXELS


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A network that a source opened.

    Attributes:
        info: its facts, with the sizes of all its views.
        model: from rows as `decoding` makes them to views by name, float32 [n, size]: a Keras model, or an
            `openvino.Model` whose outputs have the views' names; None where the rows are the features.
        decoding: what inputs are turned into.
        weights: SHA-256 of its weights in hexadecimal: of their file, if they came in one. This is what a
            declaration pins.
        identity: what else makes its features what they are: architecture, scaling, preprocessing. With the
            weights it makes the digest.
        golden: features that the original network is known to give; None takes those of the network in its
            own framework, in float32.
    """

    info: BackboneInfo
    model: Any
    decoding: Decoding
    weights: str
    identity: Mapping[str, Any]
    golden: Golden | None = None

    def run_golden(self) -> Views:
        """Views of the made input by the network itself, [1, size] each."""
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
