"""After Zhuang et al., *CMAD: Correlation-Aware and Modalities-Aware Distillation for Multimodal Sentiment Analysis
with Missing Modalities*, ICCV 2025, and Li et al., *Correlation-decoupled Knowledge Distillation for Multimodal
Sentiment Analysis with Incomplete Modalities*, CVPR 2024 (CorrKD). A method of their kind, not a reproduction of
either.

    L_i = w_{c(i)} [R_i + a m_i (b + k_i)]
    R_i = T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + (s_s - s_t)^2
    m_i = mean over channels of (r(h_s) - h_t)^2
    k_i = 1/2 [KL(g_t || g_s) + KL(g_s || g_t)],    g_i = softmax over j != i of cos(h_i, h_j) / tau

The teacher says what it says of the complete sample, the student has what its modality mask leaves of it, and c(i) is
which of the seven combinations that is (`Output.present`). R: response; m, k: how far the sample's representation is
from the teacher's, and how differently it stands to the other samples of the batch; h_s after the learned regressor r;
a: weight of the features; b: what of m counts however well the similarities fit, 0 in the published product, where a
sample that stands right among the others is drawn no further and a lone sample not at all. w: how hard the combination
is,

    w_c = (d_c / mean of d over the combinations seen so far)^p,    d_c <- rho d_c + (1 - rho) mean of R_i over c(i) = c

a running mean that lives in a buffer, so that a resumed run goes on with it; 1 for a combination that was not seen yet.
Weights are those before the batch, and constants for the gradient. The control is hiding modalities alone, without any
method.

Where the authors' code differs: CMAD divides by a temperature in its regression loss, too, where it does nothing but
scale, so here it is for classes only. CorrKD contrasts samples with negatives and has class prototypes, which are not
here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from contract.labels import MODALITIES
from training.distillation.methods import checks
from training.distillation.methods.adapted import Adapted, placed, regressor
from training.distillation.methods.base import Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, pairs_of
from training.distillation.methods.modalities import fused_pairs, rows_with
from training.distillation.methods.numerics import kl, unit
from training.distillation.methods.responses import responses
from training.distillation.outputs import Batch, Output

COMBINATIONS = 2 ** len(MODALITIES)
"""Of modalities, the empty one included: combination c has modality m where bit m of c is set."""


def combination_of(output: Output, like: Tensor) -> Tensor:
    """Return the number of each sample's combination of modalities, int64 [B]; all of them where nothing is said."""
    if output.present is None:
        return torch.full((len(like),), COMBINATIONS - 1, device=like.device)
    powers = 2 ** torch.arange(len(MODALITIES), device=like.device)
    return ((output.present > 0) * powers).sum(1)


def similarity_gap(student: Tensor, teacher: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """Return the symmetric KL [B] of the rows' similarities to the other rows, of representations [B, D].

    Rows that are not `valid` [B] are nobody's others.
    """
    others = valid & ~torch.eye(len(valid), dtype=torch.bool, device=valid.device)
    rows = [torch.where(others, unit(h) @ unit(h).T / temperature, -1e9) for h in (student, teacher)]
    return (kl(rows[0], rows[1]) + kl(rows[1], rows[0])) / 2


def relative_hardness(hardness: Tensor, power: float) -> Tensor:
    """Return the weights [8] of running means [8], of which those below 0 were not seen yet."""
    seen = hardness >= 0
    mean = torch.where(seen, hardness, 0.0).sum() / seen.sum().clamp_min(1)
    relative = torch.where(seen & (mean > 0), hardness / torch.where(mean > 0, mean, 1.0), 1.0)
    return relative**power


def moved(hardness: Tensor, loss: Tensor, combination: Tensor, momentum: float) -> Tensor:
    """Return the running means [8] after a batch of losses [B] of samples of these combinations [B]."""
    member = nn.functional.one_hot(combination, COMBINATIONS).to(loss.dtype)
    count = member.sum(0)
    mean = loss @ member / count.clamp_min(1)
    blended = torch.where(hardness < 0, mean, momentum * hardness + (1 - momentum) * mean)
    return torch.where(count > 0, blended, hardness)


@dataclass(frozen=True)
class MissingConfig:
    """Hyper-parameters of `missing`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: the fused features."""
    response: float = 1.0
    """Factor of the response's part."""
    feature: float = 1.0
    """a, factor of the features' part."""
    base: float = 0.0
    """b, what the distance counts beside the gap of the similarities; 0 as published."""
    temperature: float = 4.0
    """T of the responses of classes."""
    similarity_temperature: float = 0.1
    """tau: the smaller, the more the nearest samples decide about the gap."""
    hardness: float = 1.0
    """p: how much more a hard combination of modalities counts; 0: all alike."""
    momentum: float = 0.9
    """rho of the running means."""

    def __post_init__(self) -> None:
        checks.layers(self)
        for field in ("response", "feature", "base", "hardness", "momentum"):
            checks.number(self, field, least=0)
        checks.number(self, "temperature", above=0)
        checks.number(self, "similarity_temperature", above=0)
        if self.momentum >= 1:
            raise ValueError(f"momentum must be less than 1, got {self.momentum!r}")


class Missing(Adapted):
    """Teaches what the complete sample says to a student that lacks modalities, hard combinations most."""

    name = "missing"
    family = "E"
    paper = (
        "after Zhuang et al., CMAD: Correlation-Aware and Modalities-Aware Distillation for Multimodal Sentiment "
        "Analysis with Missing Modalities, ICCV, 2025, and Li et al., CorrKD, CVPR, 2024"
    )
    equation = (
        "w_c (T^2 KL(p_t || p_s) + |s_s - s_t|^2 + a |r(h_s) - h_t|^2 (b + KL(g_t || g_s) / 2 + KL(g_s || g_t) / 2))"
    )
    needs = frozenset({"logits", "features"})
    scaled = ("response", "feature")
    Config = MissingConfig
    config: MissingConfig
    hardness: Tensor

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__(**hyperparameters)
        self._layers: Layers = self.config.layers
        self._rows: dict[str, int] = {}

    @property
    def layers(self) -> Layers:
        """Pairs (student layer, teacher layer)."""
        return self._layers

    def make(self, pair: Pair) -> nn.Linear:
        """Create the regressor."""
        h_s, h_t = pair.vectors()
        return regressor(h_s.shape[1], h_t.shape[1])

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create the regressors and the running means; raises ValueError for a missing layer."""
        self._layers = self.config.layers or fused_pairs(self.name, student, teachers)
        super().build(student, teachers)
        self._rows = {name: row for row, name in enumerate(teachers)}
        self.register_buffer("hardness", torch.full((len(teachers), COMBINATIONS), -1.0))
        placed(self, next(iter(student.features.values())))

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `missing_response/teacher` and `missing_feature/teacher` for every teacher."""
        pairs = pairs_of(self.name, self._layers, student, teachers)
        terms: Terms = {}
        for name, response in responses(self.name, student, teachers, self.config.temperature).items():
            feature = torch.stack([self._distance(pair, student) for pair in pairs[name]]).sum(0)
            weight = self._weight(name, response.detach(), combination_of(student, response))
            terms[f"missing_response/{name}"] = self.config.response * weight * response
            terms[f"missing_feature/{name}"] = self.config.feature * weight * feature
        return terms

    def _distance(self, pair: Pair, student: Output) -> Tensor:
        h_s, h_t = pair.vectors()
        adapted = self.adapter(pair)(h_s)
        valid = rows_with(student, pair.layers[0])
        gap = similarity_gap(adapted, h_t, valid, self.config.similarity_temperature)
        distance = (adapted - h_t).square().mean(-1) * (self.config.base + gap)
        return torch.where(valid, distance, 0.0)

    def _weight(self, teacher: str, response: Tensor, combination: Tensor) -> Tensor:
        """The weights [B] by the running means so far; in training mode, those move on."""
        row = self._rows[teacher]
        weights = relative_hardness(self.hardness[row], self.config.hardness)
        if self.training:
            # In a new tensor: the old one may belong to the graph of a loss.
            rows = list(self.hardness)
            rows[row] = moved(rows[row], response, combination, self.config.momentum)
            self.hardness = torch.stack(rows)
        return weights[combination]
