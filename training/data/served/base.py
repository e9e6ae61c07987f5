"""What the tasks of the served students have in common."""

import torch
from torch import nn

from contract.labels import EMOTIONS, VALENCE
from training.data.calibration import fit_temperature
from training.data.task import Hooks, Inputs, Samples, Split
from training.distillation.outputs import Output
from training.models.served.students import ServedStudent
from training.names import check_name


class ServedTask:
    """Base of the tasks whose students are served: subclasses add samples, teachers and a fingerprint."""

    name: str
    metric: str = "accuracy"
    labels: tuple[str, ...] = EMOTIONS
    teacher_names: tuple[str, ...] = ()
    student_names: tuple[str, ...] = ("default",)
    hooks: Hooks = Hooks()

    def augment(self, inputs: Inputs, _: torch.Generator) -> Inputs:
        """Return the inputs as they are."""
        return inputs

    def student(self, name: str = "default") -> nn.Module:
        """Return an untrained student; raises ValueError that names the nearest."""
        check_name("student", name, self.student_names)
        return self._student(name)

    def samples(self, split: Split) -> Samples:
        """Return one split, loaded once."""
        raise NotImplementedError

    def _student(self, name: str) -> ServedStudent:
        raise NotImplementedError


def valence_of(labels: tuple[str, ...]) -> torch.Tensor:
    """Return the valence of emotions, [C]."""
    return torch.tensor([VALENCE[label] for label in labels])


def fit_emotion_temperature(student: nn.Module, output: Output, samples: Samples) -> None:
    """Put the temperature of the emotions into an encoder's head."""
    assert isinstance(student, ServedStudent)
    assert output.logits is not None
    assert samples.target is not None
    if bool((samples.target >= 0).any()):
        student.model.get_submodule("head").get_buffer("temperature").fill_(
            fit_temperature(output.logits, samples.target)
        )


def require_emotions(task: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels; raises ValueError where one is none of the contract's emotions."""
    foreign = [label for label in labels if label not in EMOTIONS]
    if foreign:
        raise ValueError(
            f"{task}: a served encoder answers with emotions among {', '.join(EMOTIONS)}, and the labels have "
            f"{', '.join(foreign)}; rename them, or train a student of the task `folder`, which is not served"
        )
    return labels
