"""A method: the angle between the logits of student and teacher."""

from dataclasses import dataclass

from torch.nn import functional

from training.distillation import Method


@dataclass(frozen=True)
class CosineConfig:
    """Hyper-parameters of `cosine`."""

    weight: float = 1.0
    """Factor of the term."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight must be at least 0, got {self.weight}")


class Cosine(Method):
    """Turns the student's logits towards the teacher's."""

    name = "cosine"
    family = "A"
    paper = "nobody's, an example"
    equation = "1 - z_s . z_t / (|z_s| |z_t|)"
    needs = frozenset({"logits"})
    Config = CosineConfig

    def loss(self, student, teachers, batch):
        """Return `cosine/teacher` for every teacher."""
        del batch
        return {
            f"cosine/{name}": self.config.weight * (1 - functional.cosine_similarity(student.logits, teacher.logits))
            for name, teacher in teachers.items()
        }
