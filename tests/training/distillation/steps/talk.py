"""Conversations of audio and text, a student of both and two multimodal teachers whose outputs are looked up, in
float64."""

import torch
from torch import Tensor, nn

from training.distillation import Example
from training.distillation.outputs import Batch, Output

CLASSES, LENGTHS = 3, (3, 1, 4, 2, 3, 2, 4, 1, 3, 3)
TRAIN = 7
"""Conversations; those behind are held out."""


class Listener(nn.Module):
    """Reads what is present, and answers by modality and as a whole."""

    def __init__(self, width: int = 5, dropout: float = 0.0) -> None:
        super().__init__()
        self.readers = nn.ModuleDict({name: nn.Linear(4, width) for name in ("audio", "text")})
        self.heads = nn.ModuleDict({name: nn.Linear(width, CLASSES) for name in ("audio", "text", "fused")})
        self.drop = nn.Dropout(dropout)

    def forward(self, inputs: dict[str, Tensor]) -> Output:
        present, features = inputs["present"], {}
        for name, place in (("audio", 0), ("text", 2)):
            there = present[:, place : place + 1]
            state = torch.tanh(self.readers[name](inputs[name])) * there
            features |= {name: state, f"{name}.logits": self.heads[name](state) * there}
        fused = self.drop(features["audio"] + features["text"])
        features["penultimate"] = fused
        return Output(self.heads["fused"](fused), features=features, present=present)


class Talk:
    """Ten conversations. Teacher `t` knows; `u` too, but for its audio, which says anything, and very surely."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(11)
        count = sum(LENGTHS)
        self.unit = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
        self.inputs = {name: torch.randn(count, 4, generator=draw, dtype=torch.float64) for name in ("audio", "text")}
        self.inputs["present"] = torch.tensor([1.0, 0, 1]).double().repeat(count, 1)
        self.inputs["present"][::5, 0] = 0
        self.target = (self.inputs["audio"] + self.inputs["text"])[:, :CLASSES].argmax(1)
        self.teachers = {name: self._teacher(draw, name == "u") for name in ("t", "u")}

    def _teacher(self, draw: torch.Generator, deaf: bool) -> Output:
        def noise(*shape: int) -> Tensor:
            return torch.randn(len(self.target), *shape, generator=draw, dtype=torch.float64)

        known = 2.0 * nn.functional.one_hot(self.target, CLASSES)
        there = self.inputs["present"][:, :1]
        features = {
            "audio": noise(6) * there,
            "audio.logits": (3 * noise(CLASSES) if deaf else known + noise(CLASSES)) * there,
            "text": noise(6),
            "text.logits": known + noise(CLASSES),
            "penultimate": noise(7),
        }
        return Output(known + noise(CLASSES), features=features, present=self.inputs["present"])

    def example(self, *conversations: int) -> Example:
        rows = torch.cat([(self.unit == number).nonzero().squeeze(1) for number in conversations or range(4)])
        teachers = {
            name: Output(
                teacher.logits[rows],
                features={layer: feature[rows] for layer, feature in teacher.features.items()},
                present=teacher.present[rows],
            )
            for name, teacher in self.teachers.items()
        }
        batch = Batch(self.target[rows], index=rows, unit=self.unit[rows])
        return Example({name: tensor[rows] for name, tensor in self.inputs.items()}, batch, teachers)

    def batches(self, count: int) -> list[Example]:
        draw = torch.Generator().manual_seed(0)
        return [self.example(*torch.randperm(TRAIN, generator=draw)[:3].tolist()) for _ in range(count)]

    def __len__(self) -> int:
        return len(LENGTHS) - TRAIN

    def fetch(self, indices: list[int]) -> Example:
        return self.example(*(TRAIN + index for index in indices))

    def held_out(self) -> Example:
        return self.fetch(list(range(len(self))))
