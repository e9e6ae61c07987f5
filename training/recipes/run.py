"""What every recipe is given."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from contract.labels import EMOTIONS, VALENCE


@dataclass(frozen=True)
class Run:
    """One training run."""

    data: Path
    """The research data."""
    runs: Path
    """Checkpoints and logs: `<runs>/<model>/`."""
    tokenizer: Path
    """`tokenizer.json` of the repository."""
    seed: int = 0
    epochs: int | None = None
    """Replaces the recipe's own number."""

    def start(self) -> np.random.Generator:
        """Seed everything and return the generator that the recipe draws from."""
        random.seed(self.seed)
        torch.manual_seed(self.seed)
        return np.random.default_rng(self.seed)


def valence_table() -> torch.Tensor:
    """Return the valence of each emotion, [7], in the order of contract.labels.EMOTIONS."""
    return torch.tensor([VALENCE[name] for name in EMOTIONS])
