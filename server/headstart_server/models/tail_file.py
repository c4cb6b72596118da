"""A version's tail as a file: tensors in safetensors, and nothing that is run."""

from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from headstart_server.backbones.contract.tail import TailWeights

#: The file's name in the version's folder.
TAIL_FILE = "tail.safetensors"


def encode(weights: TailWeights) -> bytes:
    """The bytes of the file; equal tails give equal bytes."""
    return save_tensors(dict(weights.tensors), metadata={"blocks": str(weights.blocks)})


def decode(content: bytes, blocks: int) -> TailWeights:
    """The tail of the bytes of a file. Raise ValueError if they are not those of a tail."""
    try:
        return TailWeights(blocks=blocks, tensors=load_tensors(content))
    except SafetensorError as error:
        raise ValueError(f"Expected a file of tensors. Received: {error}.") from error
