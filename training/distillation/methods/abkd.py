"""Wang et al., *ABKD: Pursuing a Proper Allocation of the Probability Mass in Knowledge Distillation via alpha-beta-
Divergence*, ICML 2025; the divergence is that of Cichocki, Cruces & Amari, *Entropy* 13, 2011.

    D = -1 / (a b) sum_c [p^a q^b - a / (a + b) p^(a+b) - b / (a + b) q^(a+b)]

p, q: softmax(z / T) of teacher and student; a, b: alpha and beta. Where a, b or a + b is 0 it is the limit: (1, 0) is
KL(p || q), (0, 1) the reverse KL(q || p), (1, 1) half the squared distance, (0, 0) half that of the logarithms. A large
alpha draws most where the teacher's mass is and the student's is not; a large beta lets a student that is sure resist.

The authors' code has 1 / b and 1 / a in the limits a = 0 and b = 0 where the divergence has 1 / b^2 and 1 / a^2: the
same at 1 alone. Theirs has no T^2; the factor is KD's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.responses import logit_pairs
from training.distillation.outputs import Batch, Output


def ab_divergence(teacher: Tensor, student: Tensor, alpha: float, beta: float) -> Tensor:
    """Return D [B] between the distributions of logits [B, C]."""
    p, q = teacher.log_softmax(1), student.log_softmax(1)
    both = alpha + beta
    if alpha == 0 and beta == 0:
        return (p - q).square().sum(1) / 2
    if alpha == 0:
        return _limit(q, p, beta)
    if beta == 0:
        return _limit(p, q, alpha)
    if both == 0:
        return (alpha * (q - p) + (alpha * (p - q)).exp() - 1).sum(1) / alpha**2
    means = alpha / both * (both * p).exp() + beta / both * (both * q).exp()
    return (means - (alpha * p + beta * q).exp()).sum(1) / (alpha * beta)


def _limit(p: Tensor, q: Tensor, power: float) -> Tensor:
    """The generalised KL of p^power and q^power, divided by power^2."""
    x, y = power * p, power * q
    return (x.exp() * (x - y) - x.exp() + y.exp()).sum(1) / power**2


@dataclass(frozen=True)
class ABKDConfig:
    """Hyper-parameters of `abkd`."""

    alpha: float = 0.8
    """a: the larger, the more classes count where the student has too little."""
    beta: float = 0.2
    """b: the larger, the more the student's own certainty counts. The pair is between the KL and its reverse."""
    temperature: float = 4.0
    """T of both sides."""
    weight: float = 1.0
    """Factor of the term."""

    def __post_init__(self) -> None:
        checks.number(self, "alpha")
        checks.number(self, "beta")
        checks.number(self, "temperature", above=0)
        checks.number(self, "weight", least=0)


class ABKD(Method):
    """KD with the alpha-beta divergence, of which KL, reverse KL and squared distances are members."""

    name = "abkd"
    family = "A"
    paper = (
        "Wang et al., ABKD: Pursuing a Proper Allocation of the Probability Mass in KD via a-b-Divergence, ICML, 2025"
    )
    equation = "-T^2 / (a b) sum_c [p_t^a p_s^b - a / (a + b) p_t^(a+b) - b / (a + b) p_s^(a+b)]"
    needs = frozenset({"logits"})
    Config = ABKDConfig
    config: ABKDConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `abkd/teacher` for every teacher."""
        config, temperature = self.config, self.config.temperature
        return {
            f"abkd/{name}": config.weight
            * temperature**2
            * ab_divergence(z_t / temperature, z_s / temperature, config.alpha, config.beta)
            for name, z_s, z_t in logit_pairs("abkd", student, teachers)
        }
