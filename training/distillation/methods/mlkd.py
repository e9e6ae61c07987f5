"""Jin, Wang & Lin, *Multi-Level Logit Distillation*, CVPR 2023.

    L = sum over T of  T^2 KL(p_t || p_s)  +  1/B ||P_t P_t^T - P_s P_s^T||_F^2  +  1/C ||P_t^T P_t - P_s^T P_s||_F^2

p: softmax(z / T) of a sample, a row of P [B, C]; B: samples of the batch, C: classes. The parts are the instance's, the
batch's (which samples are answered alike) and the class's (which classes are confused), at several temperatures T. The
batch's part is split by rows, the class's evenly, so that their means are the published values.

The authors' code sees every picture in a weakly and a strongly augmented view, and counts the half of the samples and
classes alone that the teacher is least sure of, with one threshold a batch. A batch here is of one view, and all count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.distillation.methods import checks
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.kd import kd
from training.distillation.methods.responses import logit_pairs
from training.distillation.outputs import Batch, Output


def mlkd(student: Tensor, teacher: Tensor, temperatures: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the instance's, the batch's and the class's part, each [B], of logits [B, C]."""
    parts = [_parts(student, teacher, temperature) for temperature in temperatures]
    instance, batch, classes = (torch.stack(of_all).sum(0) for of_all in zip(*parts, strict=True))
    return instance, batch, classes


def _parts(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    p_s, p_t = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    of_rows = (p_t @ p_t.T - p_s @ p_s.T).square().sum(1)
    of_classes = (p_t.T @ p_t - p_s.T @ p_s).square().sum() / student.shape[1]
    return kd(student, teacher, temperature), of_rows, of_classes.expand(len(student))


@dataclass(frozen=True)
class MLKDConfig:
    """Hyper-parameters of `mlkd`."""

    temperatures: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 6.0)
    """T, the authors'; the parts are summed over them."""
    weight: float = 1.0
    """Factor of the instance's part, and of all three."""
    batch: float = 1.0
    """Factor of the batch's part beside that."""
    classes: float = 1.0
    """Factor of the class's part beside that; it grows with the square of the batch's size."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperatures", tuple(self.temperatures))  # A recipe gives a list.
        if not self.temperatures or min(self.temperatures) <= 0:
            raise ValueError(f"temperatures must be one or more numbers above 0, got {self.temperatures!r}")
        for field in ("weight", "batch", "classes"):
            checks.number(self, field, least=0)


class MLKD(Method):
    """Matches answers, which samples are answered alike, and which classes are confused, at several temperatures."""

    name = "mlkd"
    family = "A"
    paper = "Jin, Wang & Lin, Multi-Level Logit Distillation, CVPR, 2023"
    equation = "sum_T T^2 KL(p_t || p_s) + |P_t P_t^T - P_s P_s^T|^2 / B + |P_t^T P_t - P_s^T P_s|^2 / C"
    needs = frozenset({"logits"})
    Config = MLKDConfig
    config: MLKDConfig

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `mlkd_instance/teacher`, `mlkd_batch/teacher` and `mlkd_class/teacher` for every teacher."""
        terms: Terms = {}
        for name, z_s, z_t in logit_pairs("mlkd", student, teachers):
            instance, of_batch, of_classes = mlkd(z_s, z_t, self.config.temperatures)
            terms[f"mlkd_instance/{name}"] = self.config.weight * instance
            terms[f"mlkd_batch/{name}"] = self.config.weight * self.config.batch * of_batch
            terms[f"mlkd_class/{name}"] = self.config.weight * self.config.classes * of_classes
        return terms
