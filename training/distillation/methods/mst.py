"""After Li et al., *MST-Distill: Mixture of Specialized Teachers for Cross-Modal Knowledge Distillation*, ACM MM 2025.

    L_i = sum over k of w_ik T^2 KL(p'_ik || p_s,i),    w_i = the K' largest of softmax(G(z_s,i)), their sum 1
    p'_k = softmax(c_k(M_k(h_k) * h_k) / T)             the specialised teacher
    M_k:   T^2 KL(p'_k || p_s), p_s as a constant       until it says what this student can follow
    G:     - log sum_k softmax(G)_k p'_k(y)  +  KL(uniform || mean over the batch of softmax(G))

z_s: the student's logits, a constant for G and M; G: the gate, two linear layers; h_k: teacher k's feature; M_k: a
mask, a number in (0, 1) for each channel, that takes out what is peculiar to the teacher's modalities; y: label.
Teachers of other modalities, and of several, are the mixture's members. "after": teachers come from a cache, so c_k is
fitted to their own answers (`mst_head`); the paper's masks sit inside the nets and are attention over channels, here
they are one hidden layer; and its stages (teachers and student together, masks, then the student) are one here.

In the authors' code the chosen teachers' indices carry no gradient, so that the gate learns from the balance alone and
nothing tells it who is good for a sample; the surprisal of the label does that here (without labels there is the
balance).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.distillation.methods import checks
from training.distillation.methods.adapted import placed
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.modalities import fused_layer, fused_pairs, representation
from training.distillation.methods.numerics import kl
from training.distillation.methods.responses import logit_pairs
from training.distillation.outputs import Batch, Output


def largest(shares: Tensor, count: int) -> Tensor:
    """Keep the `count` largest of each row of shares [B, K], and let them sum to 1."""
    values, places = shares.topk(min(count, shares.shape[1]), dim=1)
    return torch.zeros_like(shares).scatter(1, places, values / values.sum(1, keepdim=True))


def imbalance(shares: Tensor) -> Tensor:
    """Return KL(uniform || mean of shares [B, K] over the batch), a scalar."""
    mean = shares.mean(0)
    return -(len(mean) * mean.clamp_min(1e-12)).log().mean()


class Specialist(nn.Module):
    """A mask over the channels of a teacher's feature, and the head that answers from it."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.mask = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.Sigmoid())
        self.head = nn.Linear(width, classes)

    def forward(self, feature: Tensor) -> Tensor:
        """Return the logits [B, C] of a feature [B, D] that is masked; the head stands still."""
        weight, bias = self.head.weight.detach(), self.head.bias.detach()
        return nn.functional.linear(self.mask(feature) * feature, weight, bias)


@dataclass(frozen=True)
class MSTConfig:
    """Hyper-parameters of `mst`."""

    chosen: int = 1
    """K': teachers that a sample is taught by."""
    hidden: int = 32
    """Width inside the masks."""
    temperature: float = 4.0
    """T of the answers, the authors'."""
    balance: float = 1.0
    """Factor of what keeps every teacher in use over a batch, the authors'."""
    weight: float = 1.0
    """Factor of what the student learns."""

    def __post_init__(self) -> None:
        checks.count(self, "chosen")
        checks.count(self, "hidden")
        checks.number(self, "temperature", above=0)
        checks.number(self, "balance", least=0)
        checks.number(self, "weight", least=0)


class MST(Method):
    """Teachers of other modalities, each specialised by a mask, of which a gate chooses some for every sample."""

    name = "mst"
    family = "E"
    paper = "after Li et al., MST-Distill: Mixture of Specialized Teachers for Cross-Modal Knowledge Distillation, 2025"
    equation = "sum_k w_k T^2 KL(softmax(c_k(M_k(h_k) * h_k) / T) || p_s), w = the largest of softmax(G(z_s))"
    needs = frozenset({"logits", "features"})
    Config = MSTConfig
    config: MSTConfig

    def __init__(self, **hyperparameters: object) -> None:
        super().__init__(**hyperparameters)
        self.specialists = nn.ModuleDict()
        self.gate = nn.Sequential()
        self._chosen: dict[str, Tensor] = {}

    def edge_weights(self) -> dict[str, Tensor]:
        """Return w of the last call, `teacher>student` -> [B]."""
        return self._chosen

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create masks, heads and gate; raises ValueError for outputs without features or logits."""
        fused_pairs(self.name, student, teachers)
        for name, z_s, z_t in logit_pairs(self.name, student, teachers):
            specialist = Specialist(self._feature(teachers[name]).shape[1], self.config.hidden, z_t.shape[1])
            self.specialists[_key(name)] = placed(specialist, z_s)
        classes = z_s.shape[1]
        self.gate = placed(nn.Sequential(nn.Linear(classes, 2 * classes), nn.Linear(2 * classes, len(teachers))), z_s)

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `mst`, what the student learns, and `mst_mask`, `mst_head` and `mst_gate`, which train the mixture."""
        fused_pairs(self.name, student, teachers)
        if len(self.specialists) != len(teachers):
            raise ValueError(f"{self.name}: call build(student, teachers) once, with the outputs of all teachers")
        temperature, said, fits, misfits = self.config.temperature, [], [], []
        for name, z_s, z_t in logit_pairs(self.name, student, teachers):
            specialist: Any = self.specialists[_key(name)]
            feature = self._feature(teachers[name]).detach()
            logits = specialist(feature)
            said.append(logits.detach())
            fits.append(kl(z_t.detach(), specialist.head(feature)))
            misfits.append(temperature**2 * kl(logits / temperature, z_s.detach() / temperature))
        logits = torch.stack(said, dim=1)
        shares = self.gate(z_s.detach()).softmax(1)
        weights = largest(shares.detach(), self.config.chosen)
        self._chosen = {f"{name}>student": weights[:, k] for k, name in enumerate(teachers)}
        apart = temperature**2 * kl(logits / temperature, z_s.unsqueeze(1) / temperature)
        return {
            "mst": self.config.weight * (weights * apart).sum(1),
            "mst_mask": torch.stack(misfits).mean(0),
            "mst_head": torch.stack(fits).mean(0),
            "mst_gate": self.config.balance * imbalance(shares) + _surprisal(shares, logits, batch.target),
        }

    def _feature(self, teacher: Output) -> Tensor:
        return representation(teacher, str(fused_layer(teacher)))


def _surprisal(shares: Tensor, logits: Tensor, target: Tensor | None) -> Tensor:
    """-log sum_k shares_k p_k(y), [B], of logits [B, K, C]; 0 where a sample has no label."""
    if target is None:
        return shares.new_zeros(len(shares))
    labels = target.clamp_min(0)[:, None, None].expand(-1, shares.shape[1], 1)
    right = logits.log_softmax(-1).gather(-1, labels).squeeze(-1)
    surprisal = -torch.logsumexp(right + shares.clamp_min(1e-12).log(), dim=1)
    return torch.where(target >= 0, surprisal, 0.0)


def _key(teacher: str) -> str:
    """A ModuleDict takes no dots."""
    return teacher.replace(".", "%2E")
