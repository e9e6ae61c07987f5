"""Students that see: one grey face of 48x48 -> one output, with maps at three resolutions."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from training.distillation.outputs import Inputs, Output
from training.models.answer import Head
from training.models.served.video import ResidualBlock


class ResidualStudent(nn.Module):
    """A small residual net. Features: maps `h1` 12x12, `h2` 6x6, `h3` 3x3, and `penultimate`, the mean of the last."""

    def __init__(
        self,
        values: Sequence[float],
        widths: tuple[int, int, int, int] = (16, 32, 64, 96),
        dropout: float = 0.3,
    ) -> None:
        """Make a net with so many channels in its stem and its three stages."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 3, 2, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        self.first, self.second, self.third = (ResidualBlock(a, b, 2) for a, b in pairwise(widths))
        self.head = Head(widths[3], values, dropout)

    def forward(self, inputs: Inputs) -> Output:
        """Read `face` [B, 48, 48], grey levels 0..255 of any type."""
        h1 = self.first(self.stem(standardised(inputs["face"]).unsqueeze(1)))
        h2 = self.second(h1)
        h3 = self.third(h2)
        penultimate = h3.mean((2, 3))
        logits, score = self.head(penultimate)
        return Output(logits, score, features={"h1": h1, "h2": h2, "h3": h3, "penultimate": penultimate})


class PlainStudent(nn.Module):
    """The same sizes without shortcuts: a student of another family."""

    def __init__(
        self, values: Sequence[float], widths: tuple[int, int, int] = (24, 48, 96), dropout: float = 0.3
    ) -> None:
        super().__init__()
        sizes = (1, *widths)
        self.stages = nn.ModuleList(_stage(a, b) for a, b in pairwise(sizes))
        self.head = Head(widths[-1], values, dropout)

    def forward(self, inputs: Inputs) -> Output:
        """Read `face` [B, 48, 48], grey levels 0..255 of any type."""
        x = standardised(inputs["face"]).unsqueeze(1)
        features: dict[str, Tensor] = {}
        for number, stage in enumerate(self.stages, start=1):
            x = features[f"h{number}"] = stage(x)
        features["penultimate"] = x.mean((2, 3))
        logits, score = self.head(features["penultimate"])
        return Output(logits, score, features=features)


def standardised(face: Tensor) -> Tensor:
    """Return grey levels [B, H, W] with mean 0 and deviation 1 each; a flat image stays flat."""
    grey = face.float()
    centred = grey - grey.mean((1, 2), keepdim=True)
    return centred / (centred.square().mean((1, 2), keepdim=True).sqrt() + 4.0)


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, 1, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
