"""Meta-learned weights: a small net looks at teachers and student, and learns on held-out samples whom to trust (MMKD).

Zhang, Chen, Wang, *Adaptive Multi-Teacher Knowledge Distillation with Meta-Learning*, ICME 2023:

    w = softmax(W_2 relu(W_1 [z_1; ...; z_K; z_s]))            the net, phi = (W_1, W_2)
    theta'(phi) = theta - a grad_theta sum_k w_k(phi) L_k      the student's step on what it is to match
    phi <- phi - b grad_phi CE(theta'(phi); held-out)          the outer step, `training/distillation/steps/meta.py`

z_k, z_s: logits of teacher k and of the student; L_k: the methods' terms of teacher k. The paper has a second net over
features: `of = "features"`.

Differences to the authors' code: log-probabilities in the place of raw logits, as a shift of logits means nothing; the
last layer starts at 0, so that training begins with the uniform ensemble; and the net over features reads each
sample's pooled features, where theirs reads its similarities to the other samples of the batch and so works for one
size of batch alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.distillation.methods import checks
from training.distillation.outputs import Batch, Output
from training.distillation.weighers.base import Weigher
from training.distillation.weighers.reading import require_built, stacked_logits, vector


@dataclass(frozen=True)
class MetaWeigherConfig:
    """Hyper-parameters of `meta`; those of its outer step are in `training/distillation/steps/meta.py`."""

    of: Literal["responses", "features"] = "responses"
    """What the net reads: logits (scores where there are no logits), or pooled features."""
    student_layer: str = ""
    """With `features`: the student's layer; empty for its last."""
    teacher_layer: str = ""
    """With `features`: the teachers' layer; empty for the last of each."""
    hidden: int = 0
    """Width of the hidden layer; 0 for half of the inputs, as the authors."""

    def __post_init__(self) -> None:
        checks.choice(self, "of", ("responses", "features"))
        checks.count(self, "hidden", least=0)


class Meta(Weigher):
    """MMKD: a net over the answers of teachers and student, trained by an outer step."""

    name = "meta"
    paper = "Zhang, Chen, Wang: Adaptive Multi-Teacher Knowledge Distillation with Meta-Learning, ICME 2023 (MMKD)"
    equation = "w = softmax(W_2 relu(W_1 [z_1; ...; z_K; z_s])), phi <- phi - b grad_phi CE(theta'(phi); held-out)"
    needs = frozenset({"logits", "target"})
    Config = MetaWeigherConfig

    def __init__(self, **hyperparameters: object) -> None:
        super().__init__(**hyperparameters)
        self.net = nn.Sequential()
        self._teachers = 0

    @property
    def meta_learned(self) -> bool:
        """Always."""
        return True

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create the net from the widths of the outputs."""
        seen = self._seen(student, teachers)
        self._teachers = len(teachers)
        hidden = self.config.hidden or max(seen.shape[1] // 2, 1)
        last = nn.Linear(hidden, len(teachers))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(nn.Linear(seen.shape[1], hidden), nn.ReLU(), last).to(seen)

    def weigh(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Tensor:
        """Return the weights [B, K], with a gradient for the net alone."""
        require_built(self.name, self._teachers, teachers)
        return torch.softmax(self.net(self._seen(student, teachers)), dim=-1)

    def _seen(self, student: Output, teachers: Mapping[str, Output]) -> Tensor:
        """Concatenate what the net reads, [B, *], without gradient."""
        everyone = {**{f"teacher {name!r}": output for name, output in teachers.items()}, "the student": student}
        if self.config.of == "features":
            layers = [self.config.teacher_layer] * len(teachers) + [self.config.student_layer]
            seen = [vector(self.name, who, everyone[who], layer) for who, layer in zip(everyone, layers, strict=True)]
            return torch.cat(seen, dim=1)
        scores = [output.score.detach() for output in everyone.values() if output.score is not None]
        if student.logits is None and len(scores) == len(everyone):
            return torch.stack(scores, dim=1)
        return torch.log_softmax(stacked_logits(self.name, everyone), dim=-1).flatten(1)
