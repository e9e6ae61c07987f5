"""Four teachers of handwritten digits, of which one answers at random: who notices, and what it is worth.

A real training run of seconds, on the digits that scikit-learn carries; few labels, so that the student needs its
teachers.
"""

from functools import cache

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from training.distillation import Context, Example, Plain, make_distiller, make_step
from training.distillation.outputs import Batch, Output

TRAIN, HELD_OUT, STEPS = 100, 150, 500


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, width), nn.Linear(width, 10)

    def forward(self, inputs: Tensor) -> Output:
        hidden = self.first(inputs).relu()
        return Output(self.last(hidden), features={"h": hidden})


class Digits:
    """The digits, split, with what three taught teachers and a random one say about each of them."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        inputs, target = load_digits(return_X_y=True)
        self.inputs, self.target = torch.tensor(inputs, dtype=torch.float32) / 16, torch.tensor(target)
        order = torch.randperm(len(target))
        self.train, self.held, self.test = order[900:].split([TRAIN, HELD_OUT, len(target) - 900 - TRAIN - HELD_OUT])
        with torch.no_grad():
            self.teachers = {f"good{k}": self.taught(order[300 * k : 300 * (k + 1)])(self.inputs) for k in range(3)}
        self.teachers["random"] = Output(
            10 * torch.randn(len(target), 10), features={"h": torch.randn(len(target), 64)}
        )

    @torch.enable_grad()
    def taught(self, samples: Tensor) -> nn.Module:
        net = Net(64)
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(150):
            index = samples[torch.randint(len(samples), (64,))]
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(self.inputs[index]).logits, self.target[index]).backward()
            optimizer.step()
        return net

    def example(self, index: Tensor) -> Example:
        teachers = {
            n: Output(t.logits[index], features={"h": t.features["h"][index]}) for n, t in self.teachers.items()
        }
        return Example(self.inputs[index], Batch(target=self.target[index], index=index), teachers)

    def __len__(self) -> int:
        return len(self.held)

    def fetch(self, indices: list[int]) -> Example:
        return self.example(self.held[torch.tensor(indices)])


@cache
def run(seed: int, weigher: str) -> tuple[float, dict[str, float]]:
    """Train a student; return its test accuracy, and the mean weights of the last fifth of the steps."""
    digits = Digits(seed)
    torch.manual_seed(seed + 1000)
    distiller = make_distiller(Net(32), {"kd": {}}, {"name": weigher}, task_weight=1.0)
    distiller.build(digits.example(digits.train))
    plain = Plain(distiller, torch.optim.AdamW(distiller.learnt_by_loss(), lr=5e-3))
    step = make_step(plain, Context(distiller, digits))
    weights = dict.fromkeys(digits.teachers, 0.0)
    for done in range(STEPS):
        metrics = step(digits.example(digits.train[torch.randint(TRAIN, (32,))]))
        if done >= STEPS * 4 // 5:
            weights = {
                name: weight + metrics[f"weight/{name}"].item() / (STEPS / 5) for name, weight in weights.items()
            }
    right = distiller.student(digits.inputs[digits.test]).logits.argmax(1) == digits.target[digits.test]
    return right.double().mean().item(), weights


SEEDS = [pytest.param(0), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weigher", ["confidence", "attention_select", "meta"])
def test_the_random_teacher_counts_least_and_the_student_beats_that_of_the_uniform_ensemble(seed, weigher):
    accuracy, weights = run(seed, weigher)
    bad = weights.pop("random")
    assert bad < min(weights.values())
    assert bad < 0.25
    assert accuracy > run(seed, "uniform")[0] + 0.005


def test_the_random_teacher_harms_the_uniform_ensemble():
    """Or there would be nothing to show: it is confident, so its entropy does not give it away either."""
    accuracy, weights = run(0, "entropy")
    assert weights["random"] > 0.2
    assert run(0, "confidence")[0] > max(accuracy, run(0, "uniform")[0])
