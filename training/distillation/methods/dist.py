"""Huang, You, Wang, Qian & Xu, *Knowledge Distillation from A Stronger Teacher* (DIST), NeurIPS 2022.

    L = beta / B sum_i d(Y_s[i, :], Y_t[i, :]) + gamma / C sum_j d(Y_s[:, j], Y_t[:, j]),   d = 1 - Pearson correlation

Y: softmax(z / T) of student or teacher, B samples by C classes. The first part is the relation between the classes
of a sample, the second that between the samples of the batch in a class; it belongs to all samples alike, so that
each gets an even share and the mean is the published value.

The authors' code multiplies both parts by T^2, which the text does not; so does this. It adds 1e-8 to the product
of the two norms, and so pulls the correlation of rarely predicted classes to 0; here only constant vectors
correlate with nothing (a batch of one sample has no second part to learn from: it is constant). Of two classes the
first part knows the order alone, and has no gradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.numerics import pearson
from training.distillation.methods.responses import logit_pairs
from training.distillation.outputs import Batch, Output


def dist(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return T^2 times the inter-class and the intra-class part, each [B], of logits [B, C]."""
    y_s, y_t = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    inter = 1 - pearson(y_s, y_t)
    intra = (1 - pearson(y_s.T, y_t.T)).mean().expand(len(student))
    return temperature**2 * inter, temperature**2 * intra


@dataclass(frozen=True)
class DISTConfig:
    """Hyper-parameters of `dist`."""

    temperature: float = 1.0
    """T; the authors use 1 on ImageNet and 4 on CIFAR-100."""
    beta: float = 1.0
    """Weight of the relation between classes."""
    gamma: float = 1.0
    """Weight of the relation between samples."""

    def __post_init__(self) -> None:
        checks.number(self, "temperature", above=0)
        checks.number(self, "beta", least=0)
        checks.number(self, "gamma", least=0)


class DIST(Method):
    """Matches how predictions vary, over classes and over samples, and not how large they are."""

    name = "dist"
    family = "A"
    paper = "Huang, You, Wang, Qian & Xu, Knowledge Distillation from A Stronger Teacher, NeurIPS, 2022"
    equation = "T^2 (beta mean_i (1 - pearson(Y_s[i,:], Y_t[i,:])) + gamma mean_j (1 - pearson(Y_s[:,j], Y_t[:,j])))"
    needs = frozenset({"logits"})
    scaled = ("beta", "gamma")
    Config = DISTConfig
    config: DISTConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `dist_inter/teacher` and `dist_intra/teacher` for every teacher."""
        terms: Terms = {}
        for name, z_s, z_t in logit_pairs("dist", student, teachers):
            inter, intra = dist(z_s, z_t, self.config.temperature)
            terms[f"dist_inter/{name}"] = self.config.beta * inter
            terms[f"dist_intra/{name}"] = self.config.gamma * intra
        return terms
