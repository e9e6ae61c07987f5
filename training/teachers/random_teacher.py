"""A teacher that knows nothing: seeded noise in the shape of a teacher's outputs, to see who trusts it."""

from typing import Final

import torch

from training.data.folder import Split
from training.distillation.outputs import Output

WIDTH: Final = 64
_SEEDS: Final[dict[Split, int]] = {"train": 1, "valid": 2, "test": 3}


def random_outputs(split: Split, samples: int, classes: int, slots: int | None, spread: float = 2.0) -> Output:
    """Return logits [N, C] with standard deviation `spread`, as sure of themselves as a good teacher's.

    Args:
        split: has its own seed.
        samples: N.
        classes: C.
        slots: makes "h1" a sequence [N, slots, 64]; None: a vector [N, 64].
        spread: see above.
    """
    generator = torch.Generator().manual_seed(_SEEDS[split])
    logits = torch.randn(samples, classes, generator=generator) * spread
    shape = (samples, WIDTH) if slots is None else (samples, slots, WIDTH)
    features = {"h1": torch.randn(shape, generator=generator).half()}
    features["penultimate"] = torch.randn(samples, WIDTH, generator=generator).half()
    return Output(logits, features=features)
