"""The card of a prepared backbone: everything needed to load it without its framework."""

import dataclasses
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.backbones.contract.tail import Cut, TailPlan
from headstart_server.backbones.networks.golden import Golden, golden_of
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Decoding, decoding_of

_FILE = "card.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """Metadata of a prepared backbone."""

    info: BackboneInfo
    digest: str  # SHA-256 over weights, architecture and preprocessing
    weights: str  # SHA-256 of its weights alone; a declaration may pin it
    decoding: Decoding
    golden: Golden  # its features of a synthetic input
    in_keras: bool  # whether its source provides a Keras model, which then also runs on a GPU

    @property
    def cuts(self) -> set[str]:
        """Names of the outputs that are activations at cuts."""
        return {plan.cut.name for plan in self.info.tails.values()}

    def write(self, folder: Path) -> None:
        """Write the card into a folder, with the sizes of the files in it."""
        info = asdict(self.info) | {"modality": self.info.modality.value}
        values = {
            "info": info,
            "digest": self.digest,
            "weights": self.weights,
            "decoding": {"modality": self.info.modality.value, **asdict(self.decoding)},
            "golden": self.golden,
            "in_keras": self.in_keras,
            "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        }
        (folder / _FILE).write_text(json.dumps(values, indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Card":
        """Read the card of a folder; raise OSError, or ValueError if a file of it is damaged or missing."""
        try:
            values = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            for name, size in values.pop("files").items():
                if (folder / name).stat().st_size != size:
                    raise ValueError(
                        f"{folder / name} does not have {size} bytes. Prepare the backbone again."
                    )
            return cls(
                **{**values, "info": _info_of(values["info"]), "decoding": decoding_of(values["decoding"])}
            )
        except (KeyError, TypeError, AttributeError, FileNotFoundError) as error:
            raise ValueError(f"Expected the card of a backbone in {folder}. Received: {error}.") from error


def card_of(network: Network, *, in_keras: bool) -> Card:
    """Create the card of an opened float32 network, running it once unless its golden features are known."""
    return Card(
        info=network.info,
        digest=digest_of(network),
        weights=network.weights,
        decoding=network.decoding,
        golden=network.golden or golden_of(network.run_golden()),
        in_keras=in_keras,
    )


def digest_of(network: Network) -> str:
    """Return the SHA-256 over weights, architecture and preprocessing: equal digests give equal features."""
    parts = {"weights": network.weights, **network.identity}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _info_of(values: dict[str, Any]) -> BackboneInfo:
    plans = {
        int(blocks): TailPlan(
            blocks=plan["blocks"],
            cut=Cut(name=plan["cut"]["name"], shape=tuple(plan["cut"]["shape"])),
            layers=tuple(plan["layers"]),
        )
        for blocks, plan in values["tails"].items()
    }
    known = {field.name for field in dataclasses.fields(BackboneInfo)}
    return BackboneInfo(
        **{
            **{name: value for name, value in values.items() if name in known},
            "modality": Modality(values["modality"]),
            "input_size": tuple(values["input_size"]),
            "tails": plans,
        }
    )
