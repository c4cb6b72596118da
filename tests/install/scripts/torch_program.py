"""Exports a small network of PyTorch: python -m install.scripts.torch_program FOLDER."""

import sys
from pathlib import Path

import torch


def main(folder: Path) -> None:
    """Write FOLDER/small.pt2."""
    torch.manual_seed(1)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 12, 3, 2, 1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    )
    program = torch.export.export(network.eval(), (torch.rand(1, 3, 32, 32),))
    torch.export.save(program, str(folder / "small.pt2"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
