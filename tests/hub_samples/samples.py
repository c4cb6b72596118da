"""What a sample is: a declared network, opened by its source, and what other code makes of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversion import convert
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.golden import golden_image
from headstart_server.backbones.preprocessing.images import MAX_PIXELS
from headstart_server.backbones.runtimes.openvino_import import load_openvino
from headstart_server.backbones.sources.registry import source_of

SIDE = 32
TEXT = "The Quick fox, naïve; jumps over the lazy dog!"
#: Those that are converted for OpenVINO here, which takes seconds; a server converts two more.
CONVERTED = {"clip", "bert"}
#: Texts whose ids are compared; some have what tokenizers treat in ways of their own.
TEXTS = [
    TEXT,
    "fox",
    "  two  spaces, and 漢字 ",
    "unaffable (dogs) over-quick",
    "dog's day; it isn't ÜBER",
    "a_b^c$d",
]
CORPUS = [TEXT, *TEXTS, "the dog and the fox are quick and lazy", "jumps and days over dogs and foxes"] * 4

Features = NDArray[np.float32]


@dataclass
class Samples:
    """What was made.

    Attributes:
        folder: of all folders.
        features: by ``NAME/KIND``.
        facts: by name what the source says.
    """

    folder: Path
    features: dict[str, Features] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def opened(
        self, name: str, source: str, expected: Callable[[Any], Features] | None = None, **settings: Any
    ) -> None:
        """Open a declared network, run it on an image or a text in Keras and OpenVINO, and the reference.

        Args:
            name: of the sample.
            source: scheme and folder within this one.
            expected: from rows of the decoder to features by other code.
            settings: of the declaration.
        """
        scheme, _, place = source.partition(":")
        declaration = Declaration(name=name, source=f"{scheme}:{self.folder / place}", **settings)
        opener = source_of(declaration)
        network = opener.open(declaration, self.folder / "cache")
        decoder = network.decoding.decoder(max_pixels=MAX_PIXELS)
        content: Any = golden_image() if network.info.modality.value == "image" else TEXT
        rows = decoder.decode(content)[None]
        if expected is not None:
            self.features[f"{name}/expected"] = expected(rows)
        self.features[f"{name}/keras"] = network.model(rows, training=False)["last"].numpy()
        other = rows[..., ::-1] if rows.dtype == np.uint8 else np.where(rows == rows[0, 1], rows[0, 2], rows)
        self.features[f"{name}/other"] = network.model(other, training=False)["last"].numpy()
        if name in CONVERTED:
            path = self.folder / "openvino" / f"{name}.xml"
            path.parent.mkdir(exist_ok=True)
            convert(network.model, path)
            openvino = load_openvino()
            compiled = openvino.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            self.features[f"{name}/openvino"] = compiled(rows)[0].copy()
        self.facts[name] = {
            "modality": network.info.modality.value,
            "known_modality": opener.modality(declaration).value,
            "views": dict(network.info.views),
            "input_size": list(network.info.input_size),
            "weights": network.weights,
            "crop": getattr(network.decoding, "crop", None),
        }
        if network.info.modality.value == "text":
            self.facts[name]["ids"] = [
                [one for one in decoder.decode(text).tolist() if one != network.decoding.pad_id]
                for text in TEXTS
            ]
