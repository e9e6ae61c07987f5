"""Entropy-based weights: the surer a teacher is, the more it counts (EBKD).

Kwon, Na, Lee, Kim, *Adaptive Knowledge Distillation Based on Entropy*, ICASSP 2020, in the form for K teachers that
Zhang et al. (CA-MKD, ICASSP 2022) restate:

    w_k = (1 - H_k / sum_j H_j) / (K - 1),    H_k = -sum_c p_k(c) log p_k(c)

p_k: softmax of teacher k for the sample; H_k: its entropy; K: teachers.

Needs no labels, and so believes a teacher that is sure and wrong; where one may be, use `confidence`. CA-MKD's code
for this baseline divides by K, so its weights sum to (K - 1) / K and scale the loss, and takes the log of a softmax
that may be 0 (NaN); here the weights sum to 1, and log_softmax.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.distillation.methods import checks
from training.distillation.outputs import Batch, Output
from training.distillation.weighers.base import Weigher
from training.distillation.weighers.reading import complement, stacked_logits


@dataclass(frozen=True)
class EntropyConfig:
    """Hyper-parameters of `entropy`."""

    temperature: float = 1.0
    """Divides the logits before the softmax."""

    def __post_init__(self) -> None:
        checks.number(self, "temperature", above=0)


def entropy_weights(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the weights [B, K] of teachers' logits [B, K, C]; uniform where no teacher has any entropy."""
    log_probability = torch.log_softmax(logits / temperature, dim=-1)
    entropy = -(log_probability.exp() * log_probability).sum(dim=-1)
    whole = entropy.sum(dim=-1, keepdim=True)
    tiny = torch.finfo(logits.dtype).tiny
    share = torch.where(whole > tiny, entropy / whole.clamp(min=tiny), 1 / logits.shape[1])
    return complement(share)


class Entropy(Weigher):
    """EBKD: weights from the entropies of the teachers' answers."""

    name = "entropy"
    paper = "Kwon, Na, Lee, Kim: Adaptive Knowledge Distillation Based on Entropy, ICASSP 2020 (EBKD)"
    equation = "w_k = (1 - H_k / sum_j H_j) / (K - 1), H_k = -sum_c p_k(c) log p_k(c)"
    needs = frozenset({"logits"})
    Config = EntropyConfig

    @torch.no_grad()
    def weigh(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Tensor:
        """Return the weights [B, K]; raises ValueError for a teacher without logits."""
        return entropy_weights(stacked_logits(self.name, teachers), self.config.temperature)
