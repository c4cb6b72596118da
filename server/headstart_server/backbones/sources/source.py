"""The interface of sources of networks."""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network


class Source(Protocol):
    """Open the networks of one scheme, without running their code."""

    @property
    def options(self) -> Collection[str]:
        """Settings of a declaration that it supports, in addition to the common ones."""

    @property
    def in_keras(self) -> bool:
        """Whether its networks are Keras models, which also run on GPUs; else OpenVINO runs them."""

    def modality(self, declaration: Declaration) -> Modality:
        """Return the modality of a declared backbone, if known before it is opened."""

    def info(self, declaration: Declaration) -> BackboneInfo | None:
        """Return the metadata if known before the network is opened; fast. Raise SourceError if invalid."""

    def fetch(self, declaration: Declaration, cache: Path) -> str:
        """Bring the files onto this machine, unless present; imports nothing slow.

        Return a fingerprint that changes with the weights. It needs no network once the files are present.
        Raise SourceError if the files are unavailable, or differ from the pinned digest.
        """

    def open(self, declaration: Declaration, cache: Path) -> Network:
        """Open the network after `fetch`. May import its framework and take seconds.

        Raise SourceError if it is damaged, contains code, or lacks what the declaration requires.
        """


class SourceError(ValueError):
    """A network is unavailable from its source."""


def check_pin(declaration: Declaration, weights: str) -> str:
    """Return the SHA-256 of the weights; raise `SourceError` if the declaration pins another one."""
    if declaration.digest not in {None, weights}:
        raise SourceError(
            f"Expected weights of {declaration.source} with the declared digest, {declaration.digest}. "
            f"Received: {weights}. Either the weights were changed, or the digest is of another file."
        )
    return weights
