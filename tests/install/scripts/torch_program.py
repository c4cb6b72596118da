"""Exports a small network of PyTorch: python -m install.scripts.torch_program FOLDER."""

import sys
from pathlib import Path

import torch


class Small(torch.nn.Module):
    """Two convolutions, and the mean over the map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, 2, 1)
        self.second = torch.nn.Conv2d(8, 12, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3))


def main(folder: Path) -> None:
    """Write FOLDER/small.pt2."""
    torch.manual_seed(1)
    program = torch.export.export(Small().eval(), (torch.rand(1, 3, 32, 32),))
    torch.export.save(program, str(folder / "small.pt2"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
