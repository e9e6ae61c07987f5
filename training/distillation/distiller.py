"""A student, its task, the methods that teach it and the weighers of its teachers: everything that one loss is made of.

It is one module with one forward, so that DistributedDataParallel sees every parameter, and so that `functional_call`
can run all of it elsewhere than at its parameters. Knows nothing of optimisers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from training.distillation.example import Example
from training.distillation.losses import classification, regression
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.streams import among_present
from training.distillation.outputs import Batch, Output
from training.distillation.weighers import Weigher, total
from training.distillation.weighers.uniform import Uniform

Loss = Callable[[Output, Batch], Tensor]
"""Of the student against the labels, [B]."""


def supervised(output: Output, batch: Batch) -> Tensor:
    """Return the loss [B] against the labels: cross entropy of logits plus squared error of scores, whichever there
    are.

    Samples without a label (target -1, score NaN) have 0.
    """
    losses = []
    if output.logits is not None and batch.target is not None:
        losses.append(classification(output.logits, batch.target))
    if output.score is not None and batch.score is not None:
        losses.append(regression(output.score.unsqueeze(-1), batch.score))
    if not losses:
        raise ValueError("the student's outputs meet no label: give a target for logits, or a score for scores")
    return torch.stack(losses).sum(dim=0)


@dataclass
class Losses:
    """What a distiller makes of an example; the tensors are [B]."""

    task: Tensor
    """Against the labels."""
    matching: Tensor
    """Against the teachers, weighed."""
    auxiliary: Tensor
    """What trains the weighers themselves."""
    terms: Terms = field(default_factory=dict)
    """The methods' terms, before the weighing."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    """`weight/teacher` -> its weights; `weight/method/source` where a method has a weigher of its own, and
    `weight/method/source>stream` where it weighs its edges itself."""
    learned: list[Tensor] = field(default_factory=list)
    """[B, K] of every weigher whose weights carry a gradient."""

    @property
    def per_sample(self) -> Tensor:
        """Task and matching, [B]."""
        return self.task + self.matching

    def scalar(self, sample_weights: Tensor | None = None) -> Tensor:
        """Return the mean, or the sum with `sample_weights` [B] instead of 1 / B, and the mean of the auxiliary."""
        main = self.per_sample.mean() if sample_weights is None else self.per_sample @ sample_weights
        return main + self.auxiliary.mean()


class Distiller(nn.Module):
    """The student and how it is taught."""

    def __init__(
        self,
        student: nn.Module,
        methods: Mapping[str, Method] | None = None,
        weigher: Weigher | None = None,
        weighers: Mapping[str, Weigher] | None = None,
        task: Loss = supervised,
        task_weight: float = 1.0,
    ) -> None:
        """Put the parts together; `build` must follow.

        Args:
            student: its forward takes the example's inputs and gives an Output.
            methods: by label; the label is only a name. None: the plain student.
            weigher: of the teachers; None for the uniform ensemble.
            weighers: label of a method -> a weigher for it alone, as for the features of CA-MKD and MMKD. A method with
                sources of its own that has none gets one more like `weigher`.
            task: loss per sample against the labels.
            task_weight: its factor.

        Raises:
            ValueError: `weighers` names a method that isn't there.
        """
        super().__init__()
        self.student = student
        self.methods = nn.ModuleDict(methods or {})
        own = [label for label, method in (methods or {}).items() if method.weighs_sources]
        self.weigher = weigher or Uniform()
        self.weighers = nn.ModuleDict({**{label: self.weigher.like() for label in own}, **(weighers or {})})
        self.task = task
        self.task_weight = task_weight
        self.teachers: tuple[str, ...] = ()
        for label in self.weighers.keys() - self.methods.keys():
            raise ValueError(f"a weigher is for the method {label!r}; the methods are {', '.join(self.methods)}")
        self._own_sources = frozenset(own)

    def build(self, example: Example) -> None:
        """Create what is trainable in methods and weighers from an example; once, before the optimiser is made."""
        self.teachers = tuple(example.teachers)
        if not self.methods:
            return
        modes = {module: module.training for module in self.student.modules()}
        with torch.no_grad():
            output = self.student.eval()(example.inputs).lifted()
        for module, mode in modes.items():
            module.training = mode
        teachers = self._in_order(example.teachers)
        for method in cast(Mapping[str, Method], self.methods).values():
            method.build(output, teachers)
        for label, weigher in self._all_weighers().items():
            weigher.build(output, self._sources(label, output, teachers, example.batch))

    def forward(self, example: Example) -> Losses:
        """Return the losses of an example.

        Raises:
            ValueError: a teacher that was there in `build` is missing, or an output lacks what a part needs.
        """
        output: Output = self.student(example.inputs)
        with torch.autocast(output.device_type, enabled=False):
            return self._losses(output.lifted(), self._in_order(example.teachers), example.batch)

    def learnt_by_loss(self) -> list[nn.Parameter]:
        """Return the parameters of the main optimiser: all but those that an outer step learns."""
        outer = {id(parameter) for parameter in self.learnt_by_outer_step()}
        return [parameter for parameter in self.parameters() if parameter.requires_grad and id(parameter) not in outer]

    def learnt_by_outer_step(self) -> list[nn.Parameter]:
        """Return the parameters of the meta-learned weighers."""
        learnt = [weigher for weigher in self._all_weighers().values() if weigher.meta_learned]
        return [parameter for weigher in learnt for parameter in weigher.parameters()]

    def _losses(self, output: Output, teachers: dict[str, Output], batch: Batch) -> Losses:
        task = self.task_weight * self.task(output, batch)
        losses = Losses(task, torch.zeros_like(task), torch.zeros_like(task))
        if not self.methods:
            return losses
        weights, sources = {}, {}
        for label, weigher in self._all_weighers().items():
            prefix = f"{label}/" if label else ""
            sources[label] = self._sources(label, output, teachers, batch)
            weights[label] = weigher.weigh(output, sources[label], batch)
            if label in self._own_sources:
                weights[label] = among_present(weights[label], sources[label])
            losses.weights |= {f"weight/{prefix}{name}": weights[label][:, k] for k, name in enumerate(sources[label])}
            if weights[label].requires_grad:
                losses.learned.append(weights[label])
            for name, term in weigher.terms(output, sources[label], batch).items():
                losses.auxiliary = losses.auxiliary + term
                losses.terms[f"{prefix}{name}"] = term
        for label, method in cast(Mapping[str, Method], self.methods).items():
            terms: Terms = method(output, teachers, batch)
            weigher_of = label if label in weights else ""
            losses.matching = losses.matching + total(terms, weights[weigher_of], sources[weigher_of])
            losses.weights |= {f"weight/{label}/{edge}": weight for edge, weight in method.edge_weights().items()}
            losses.terms |= {name if name not in losses.terms else f"{label}/{name}": t for name, t in terms.items()}
        return losses

    def _all_weighers(self) -> dict[str, Weigher]:
        """Label of a method -> its own weigher; "" -> that of all others, unless all have sources of their own."""
        general = {} if self._own_sources == self.methods.keys() else {"": self.weigher}
        return {**general, **cast(Mapping[str, Weigher], self.weighers)}

    def _sources(self, label: str, output: Output, teachers: dict[str, Output], batch: Batch) -> Mapping[str, Output]:
        """What the weigher of a method weighs, or with "" the one of all others."""
        return cast(Method, self.methods[label]).sources(output, teachers, batch) if label else teachers

    def _in_order(self, teachers: Mapping[str, Output]) -> dict[str, Output]:
        """The teachers as lifted outputs, in the order of `build`: columns of weights must not change places."""
        missing = [name for name in self.teachers if name not in teachers]
        if missing:
            raise ValueError(f"the example lacks the outputs of {', '.join(missing)}; it has {', '.join(teachers)}")
        return {name: teachers[name].lifted() for name in self.teachers}
