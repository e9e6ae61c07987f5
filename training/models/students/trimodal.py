"""A student that hears, sees and reads: the three small students side by side, whatever of them a clip has."""

import torch
from torch import Tensor, nn

from training.distillation.outputs import Inputs, Output
from training.models.answer import Head
from training.models.students.audio import ConvStudent
from training.models.students.face import ResidualStudent
from training.models.students.text import LstmStudent


class Headless(Head):
    """In the place of a head whose answer nobody asks for: nothing in it lies idle."""

    def __init__(self, values: tuple[float, ...]) -> None:
        super().__init__(1, values)
        del self.linear

    def forward(self, penultimate: Tensor) -> tuple[Tensor, Tensor]:
        """Return zeros in the shape of logits and score."""
        return penultimate.new_zeros(len(penultimate), len(self.values)), penultimate.new_zeros(len(penultimate))


class TrimodalStudent(nn.Module):
    """Features: `h1`, `h2`, `h3` [B, width] of sound, face and text, 0 where absent, `penultimate` their mean."""

    def __init__(self, mels: int, values: tuple[float, ...], width: int = 128, dropout: float = 0.3) -> None:
        super().__init__()
        students = (ConvStudent(mels, values), ResidualStudent(values), LstmStudent(values))
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(student.head.linear.in_features, width), nn.ReLU()) for student in students
        )
        for student in students:
            student.head = Headless(values)
        self.encoders = nn.ModuleList(students)
        self.head = Head(width, values, dropout)

    def forward(self, inputs: Inputs) -> Output:
        """Read the inputs of all three students, and `present` [B, 3]."""
        present = inputs["present"].float()
        states = [
            projection(encoder(inputs).features["penultimate"]) * present[:, i : i + 1]
            for i, (encoder, projection) in enumerate(zip(self.encoders, self.projections, strict=True))
        ]
        penultimate = torch.stack(states).sum(0) / present.sum(1, keepdim=True).clamp_min(1.0)
        logits, score = self.head(penultimate)
        features = {"h1": states[0], "h2": states[1], "h3": states[2], "penultimate": penultimate}
        return Output(logits, score, features=features, present=present)
