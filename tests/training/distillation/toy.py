"""A small student, teachers whose outputs are looked up, and held-out samples, in float64."""

import torch
from torch import Tensor, nn

from training.distillation import Example
from training.distillation.outputs import Batch, Output

SAMPLES, TRAIN, CLASSES = 60, 40, 3


class Student(nn.Module):
    """Two layers; everything that makes steps hard is optional."""

    def __init__(self, width: int = 5, normalised: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width) if normalised else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(width, CLASSES)

    def forward(self, inputs: Tensor) -> Output:
        hidden = self.drop(torch.tanh(self.norm(self.first(inputs))))
        sequence = hidden.unsqueeze(1) * torch.arange(1.0, 4.0, dtype=hidden.dtype).view(1, 3, 1).sin()
        return Output(logits=self.last(hidden), features={"s": sequence, "h": hidden})


class World:
    """Samples, labels and four teachers, of which the last knows nothing."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(7)
        self.inputs = torch.randn(SAMPLES, 4, generator=draw, dtype=torch.float64)
        self.target = self.inputs[:, :CLASSES].argmax(1)
        noise = torch.randn(4, SAMPLES, CLASSES, generator=draw, dtype=torch.float64)
        known = 2.0 * nn.functional.one_hot(self.target, CLASSES)
        logits = {f"t{k}": (known if k < 3 else 0) + noise[k] for k in range(4)}
        features = torch.randn(4, SAMPLES, 6, generator=draw, dtype=torch.float64)
        self.teachers = {
            name: Output(logits=z, features={"s": feature.view(-1, 3, 2), "h": feature})
            for (name, z), feature in zip(logits.items(), features, strict=True)
        }

    def example(self, *indices: int) -> Example:
        index = torch.tensor(indices or range(8))
        teachers = {
            name: Output(output.logits[index], features={layer: h[index] for layer, h in output.features.items()})
            for name, output in self.teachers.items()
        }
        return Example(self.inputs[index], Batch(target=self.target[index], index=index), teachers)

    def batches(self, count: int, seed: int = 0) -> list[Example]:
        draw = torch.Generator().manual_seed(seed)
        return [self.example(*torch.randperm(TRAIN, generator=draw)[:8].tolist()) for _ in range(count)]

    def __len__(self) -> int:
        return SAMPLES - TRAIN

    def fetch(self, indices: list[int]) -> Example:
        """The held-out samples lie behind those for training."""
        index = torch.tensor(indices) + TRAIN
        return Example(self.inputs[index], Batch(target=self.target[index]))

    def held_out(self) -> Example:
        return self.fetch(list(range(len(self))))
