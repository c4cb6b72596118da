"""What a source of networks has to do."""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from headstart_server.backbones.backbone import BackboneInfo, Modality
from headstart_server.backbones.declaration import Declaration
from headstart_server.backbones.network import Network


class Source(Protocol):
    """Opens the networks of one scheme, without running code that comes with them."""

    @property
    def options(self) -> Collection[str]:
        """The settings of a declaration that it heeds; others are refused, but for those all heed."""

    @property
    def in_keras(self) -> bool:
        """Whether its networks are Keras models, which run on GPUs too; else OpenVINO runs them."""

    def modality(self, declaration: Declaration) -> Modality:
        """What the backbone takes, as far as that is known before it is opened."""

    def info(self, declaration: Declaration) -> BackboneInfo | None:
        """The backbone's facts where they are known before it is opened; imports nothing slow.

        Raises:
            SourceError: there can be none of this location.
        """

    def fetch(self, declaration: Declaration, cache: Path) -> str:
        """Bring what is needed onto this machine, unless it is there already.

        Args:
            declaration: of the backbone.
            cache: folder that downloads are kept in.

        Returns:
            What changes with the weights; the same without a network once all is here. Imports nothing slow.

        Raises:
            SourceError: it is not to be had, or not what the declaration pins.
            BackboneNotFound: a package that ships it is not installed.
        """

    def open(self, declaration: Declaration, cache: Path) -> Network:
        """Open the network, after `fetch`. May import its framework and take seconds.

        Raises:
            SourceError: it is damaged, would run code, or has not what the declaration asks for.
        """


class SourceError(ValueError):
    """A network cannot be had from its source."""


def check_pin(declaration: Declaration, weights: str) -> str:
    """Refuse other weights than those declared.

    Args:
        declaration: perhaps pins a digest.
        weights: SHA-256 of the weights that came.

    Returns:
        That of the weights.

    Raises:
        SourceError: the declaration pins another digest.
    """
    if declaration.digest not in {None, weights}:
        raise SourceError(
            f"Expected weights of {declaration.source} with the digest that is pinned, "
            f"{declaration.digest}. Received: {weights}. Either they were changed or replaced, or "
            "the pin is that of another file."
        )
    return weights
