"""Ours: a teacher that sees the future teaches a student that may not. Nearest: Zhao et al., *Privileged Knowledge
Distillation for Online Action Detection*, arXiv 2011.09158, 2020.

    L_i = [T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + (s_s - s_t)^2]
        + a |r(h_s,i) - h_t,i|^2 / D + b mean over n = 1..N of |r_n(h_s,i) - h_t,i+n|^2 / D

z, s, h: logits, score and representation of utterance i; the teacher's are made with the whole conversation in view,
the student's with what was said so far. r, r_n: linear maps, one a step ahead, trained with the student and thrown away
with the method. The first two parts ask what the teacher thinks of this utterance now that it has heard what followed.
The last is anticipation: the student's present state is to hold what it can know of the teacher's next N states. Its
mean is over the steps that the conversation still has, and 0 at its last utterance. Steps ahead are steps in
`Batch.unit`: where that is None, there is nothing to anticipate.

Zhao et al. hand privileged frames over through auxiliary nodes of the student and a curriculum of teachers that look
ever farther ahead; they published no code that could be compared. Predicting future inputs is what they avoid, as
much in them cannot be known: here the future is the teacher's representation, which holds what matters for the task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.distillation.methods import checks
from training.distillation.methods.adapted import Adapted, regressor
from training.distillation.methods.base import Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.fitnet import fitnet
from training.distillation.methods.matching import Pair, pairs_of
from training.distillation.methods.modalities import fused_pairs
from training.distillation.methods.responses import responses
from training.distillation.outputs import Batch, Output


def following(teacher: Tensor, unit: Tensor | None, steps: int) -> tuple[Tensor, Tensor]:
    """Return the next `steps` rows of every row, [B, steps, D], and the mask [B, steps] of those of the same unit.

    Args:
        teacher: [B, D], the rows of a unit together and in time order.
        unit: [B]; None: every row is for itself.
        steps: how many.
    """
    count = len(teacher)
    places = torch.arange(count, device=teacher.device)
    wanted = places.unsqueeze(1) + torch.arange(1, steps + 1, device=teacher.device)
    index = wanted.clamp_max(count - 1)
    own = places if unit is None else unit
    there = (wanted < count) & (own[index] == own.unsqueeze(1))
    return teacher[index], there


class Foresight(nn.Module):
    """Regressors of the teacher's state now, and at each step ahead."""

    def __init__(self, ours: int, theirs: int, steps: int) -> None:
        super().__init__()
        self.now = regressor(ours, theirs)
        self.ahead = nn.ModuleList(nn.Linear(ours, theirs) for _ in range(steps))

    def representation(self, h_s: Tensor, h_t: Tensor) -> Tensor:
        """Return the squared distance [B] of the present states [B, D]."""
        distance: Tensor = (self.now(h_s) - h_t).square().mean(-1)
        return distance

    def anticipation(self, h_s: Tensor, h_t: Tensor, unit: Tensor | None) -> Tensor:
        """Return the squared distance [B] from the teacher's next states, the mean over those that there are."""
        if not self.ahead:
            return torch.zeros_like(h_s[:, 0])
        future, there = following(h_t, unit, len(self.ahead))
        return fitnet(torch.stack([step(h_s) for step in self.ahead], 1), future, there)


@dataclass(frozen=True)
class CausalConfig:
    """Hyper-parameters of `causal`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the fused features."""
    response: float = 1.0
    """Factor of the response's part."""
    temperature: float = 4.0
    """T of the responses of classes."""
    representation: float = 1.0
    """a, factor of the present state's part."""
    anticipation: float = 1.0
    """b, factor of the future states' part."""
    steps: int = 2
    """N, utterances ahead; 0: no anticipation."""

    def __post_init__(self) -> None:
        checks.layers(self)
        for field in ("response", "representation", "anticipation"):
            checks.number(self, field, least=0)
        checks.number(self, "temperature", above=0)
        checks.count(self, "steps", least=0)


class Causal(Adapted):
    """Teaches a student that may not look ahead by a teacher that did: what it says, and what comes next."""

    name = "causal"
    family = "E"
    paper = "ours; nearest: Zhao et al., Privileged Knowledge Distillation for Online Action Detection, arXiv, 2020"
    equation = "T^2 KL(p_t || p_s) + |s_s - s_t|^2 + a |r(h_s,i) - h_t,i|^2 + b mean_n |r_n(h_s,i) - h_t,i+n|^2"
    needs = frozenset({"logits", "features"})
    scaled = ("response", "representation", "anticipation")
    Config = CausalConfig
    config: CausalConfig

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__(**hyperparameters)
        self._layers: Layers = self.config.layers

    @property
    def layers(self) -> Layers:
        """Pairs (student layer, teacher layer)."""
        return self._layers

    def make(self, pair: Pair) -> Foresight:
        """Create the regressors."""
        h_s, h_t = pair.vectors()
        return Foresight(h_s.shape[1], h_t.shape[1], self.config.steps)

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create the regressors; raises ValueError for a missing layer."""
        self._layers = self.config.layers or fused_pairs(self.name, student, teachers)
        super().build(student, teachers)

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `causal/teacher` for every teacher."""
        pairs = pairs_of(self.name, self._layers, student, teachers)
        terms: Terms = {}
        for name, response in responses(self.name, student, teachers, self.config.temperature).items():
            parts = [self.config.response * response, *(self._states(pair, batch) for pair in pairs[name])]
            terms[f"causal/{name}"] = torch.stack(parts).sum(0)
        return terms

    def _states(self, pair: Pair, batch: Batch) -> Tensor:
        h_s, h_t = pair.vectors()
        foresight = self.adapter(pair)
        assert isinstance(foresight, Foresight)
        now, ahead = foresight.representation(h_s, h_t), foresight.anticipation(h_s, h_t, batch.unit)
        return self.config.representation * now + self.config.anticipation * ahead
