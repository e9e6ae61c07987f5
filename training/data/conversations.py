"""What tasks of conversations share: standardised vectors of utterances by modality, students that see so much of a
conversation, and teachers that see all of it, trained out of fold.

Knows no corpus.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from contract.labels import MODALITIES
from training.data.folder import Split
from training.data.task import Inputs, Samples, TeacherBank
from training.distillation.outputs import Output
from training.models.answer import Head
from training.models.students.multimodal import ConversationStudent
from training.models.teachers import BcLstm, BottleneckFusion, DmdNet, GatedFusion, MulT
from training.names import check_name
from training.teachers.cache import SPLITS, OutputCache
from training.teachers.media import MediaTask
from training.teachers.net_recipes import StreamsRecipe
from training.teachers.trained import mean_of, out_of_fold_nets

if TYPE_CHECKING:
    from training.teachers.opinions import OpinionEncoder

FOLDS: Final = 5
"""Of the training conversations, for teachers."""
LIMIT: Final = 5.0
"""Standard deviations at which inputs are cut off."""
LOOKAHEAD: Final[dict[str, int]] = {"causal": 0, "lookahead1": 1, "lookahead2": 2, "lookahead4": 4}
"""Student -> utterances after the present one that it sees."""


@dataclass(frozen=True)
class UtteranceSplit:
    """One split: N utterances, conversation after conversation, each in time order."""

    ids: list[str]
    conversation: list[str]
    """Of each utterance: its name."""
    features: dict[str, Tensor]
    """By modality [N, D], as they come."""
    target: Tensor
    """int64 [N]."""
    score: Tensor
    """float32 [N], in [-1, 1]."""
    texts: Sequence[str]
    """What was said in each."""
    groups: dict[str, Tensor] = field(default_factory=dict)
    """See `Samples.groups`."""


class Conversations(MediaTask):
    """A task of conversations; see the module."""

    name: str
    media_names: tuple[str, ...] = ("text",)
    metric: str = "accuracy"
    head: type[Head] = Head
    small_names: tuple[str, ...] = ("default", "bottleneck", *LOOKAHEAD)
    net_names: tuple[str, ...] = ("bc_lstm", "mult", "hypergraph", "dmd", "gated")
    """Large nets, that teach or learn."""
    teaching: StreamsRecipe = StreamsRecipe(epochs=25, batch=8, smoothing=0.05)
    """How teachers are trained."""
    teacher_width: int = 144
    teacher_dropout: float = 0.6

    def __init__(self, data: Path, cache: Path = Path("cache")) -> None:
        """Take the data folder, and the folder for weights, prepared samples and teachers' outputs."""
        self.data, self.cache = data, cache
        self.own_teachers = (*self.net_names, "ensemble")
        self.student_names: tuple[str, ...] = (*self.small_names, *self.net_names)
        self._samples: dict[Split, Samples] = {}
        self._texts: dict[Split, Sequence[str]] = {}

    @abstractmethod
    def load(self) -> Mapping[Split, UtteranceSplit]:
        """Return the splits; called once.

        Raises:
            DataMissingError: a file is missing or a row is broken; says which.
            TeacherError: an encoder's package is missing; says which command brings it.
        """

    def samples(self, split: Split) -> Samples:
        """Return by modality float32 [N, D], `present` [N, 3] and `conversation` int64 [N], the numbers of `unit`."""
        if not self._samples:
            loaded = self.load()
            scales = {name: Scale.of(x) for name, x in loaded["train"].features.items()}
            self._samples = {part: _samples(loaded[part], scales) for part in SPLITS}
            self._texts = {part: loaded[part].texts for part in SPLITS}
        return self._samples[split]

    def augment(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Change nothing: dropout inside the students does it."""
        del generator
        return inputs

    @cached_property
    def widths(self) -> dict[str, int]:
        """D of every modality that the corpus has."""
        inputs = self.samples("train").inputs
        return {name: inputs[name].shape[1] for name in MODALITIES if name in inputs}

    def student(self, name: str = "default") -> nn.Module:
        """Return a small student that sees whole conversations, or so much of what comes; or a teacher's net.

        Names: `default` fuses by gates, `bottleneck` by bottleneck tokens, `causal` and `lookaheadN` by gates.
        """
        check_name("student", name, self.student_names)
        if name in self.net_names:
            return self._net(name)
        core = BottleneckFusion if name == "bottleneck" else GatedFusion
        return ConversationStudent(core, self.widths, self.values, LOOKAHEAD.get(name), head=self.head)

    def media(self, modality: str, split: Split) -> Sequence[str]:
        """See MediaTask."""
        self.samples(split)
        return self._texts[split]

    def own_teacher(self, name: str) -> TeacherBank | None:
        """Return a large net over whole conversations, or the mean of what all of them answer."""
        if name == "ensemble":
            return TeacherBank(name, self._ensemble)
        if name not in self.net_names:
            return None
        key = {
            "net": name,
            "width": self.teacher_width,
            "dropout": self.teacher_dropout,
            "recipe": self.teaching.key(),
            "folds": FOLDS,
        }

        def compute() -> dict[Split, Output]:
            samples = {split: self.samples(split) for split in SPLITS}
            return out_of_fold_nets(lambda: self._net(name), samples, self.fold, self.augment, self.teaching)

        store = OutputCache(self.cache / "teacher_outputs" / self.name)
        return TeacherBank(name, lambda split: store.get(name, {**key, "samples": self.fingerprint()}, split, compute))

    @property
    def fold(self) -> Tensor:
        """int64 [N], fold of every training utterance: that of its conversation."""
        unit = self.samples("train").unit
        assert unit is not None
        count = int(unit.max()) + 1
        return (torch.randperm(count, generator=torch.Generator().manual_seed(0)) % FOLDS)[unit]

    def encoded(self, encoder: "OpinionEncoder", texts: Mapping[Split, Sequence[str]]) -> dict[Split, Tensor]:
        """Return the vectors [N, D] of every split's transcripts, computed once and kept."""

        def describe() -> dict[Split, Output]:
            vectors = encoder.describe([text for part in SPLITS for text in texts[part]])
            shares = torch.split(vectors, [len(texts[part]) for part in SPLITS])
            return {part: Output(features={"text": own}) for part, own in zip(SPLITS, shares, strict=True)}

        store, key = OutputCache(self.cache / "prepared"), {"samples": self.fingerprint()}
        return {split: store.get(self.name, key, split, describe).features["text"] for split in SPLITS}

    def _net(self, name: str) -> nn.Module:
        width, dropout, head = self.teacher_width, self.teacher_dropout, self.head
        nets: dict[str, Callable[[], nn.Module]] = {
            "bc_lstm": lambda: BcLstm(self.widths, self.values, width, dropout, head=head),
            "mult": lambda: MulT(self.widths, self.values, head=head),
            "hypergraph": self._hypergraph_net,
            "dmd": lambda: DmdNet(self.widths, self.values, width, dropout, head=head),
            "gated": lambda: ConversationStudent(
                GatedFusion, self.widths, self.values, width=width, dropout=dropout, head=head
            ),
        }
        return nets[name]()

    def _hypergraph_net(self) -> nn.Module:
        # Takes seconds to import, which no other net needs.
        from training.models.teachers.hypergraph_net import HypergraphNet

        width, dropout = self.teacher_width, self.teacher_dropout
        return HypergraphNet(self.widths, self.values, width, dropout=dropout, head=self.head)

    def _ensemble(self, split: Split) -> Output:
        return mean_of([self.teacher(name).outputs(split) for name in self.net_names])


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of a feature's D channels over the training utterances."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Scale":
        """Measure [N, D]."""
        return cls(x.mean(0), x.std(0))

    def __call__(self, x: Tensor) -> Tensor:
        """Standardise [N, D], within `LIMIT`; a channel that never moves becomes 0."""
        moving = self.deviation > 1e-6
        scaled = (x - self.mean) / torch.where(moving, self.deviation, 1.0)
        return torch.where(moving, scaled, 0.0).clamp(-LIMIT, LIMIT)


def _samples(part: UtteranceSplit, scales: Mapping[str, Scale]) -> Samples:
    present = torch.zeros(len(part.ids), len(MODALITIES))
    for name in part.features:
        present[:, MODALITIES.index(name)] = 1.0
    unit = numbered(part.conversation)
    inputs = {name: scales[name](x) for name, x in part.features.items()}
    return Samples(
        inputs={**inputs, "present": present, "conversation": unit},
        target=part.target,
        score=part.score,
        groups=part.groups,
        ids=part.ids,
        present=present,
        unit=unit,
    )


def numbered(names: Sequence[str]) -> Tensor:
    """Return int64 [N]: equal names, equal numbers, from 0 in the order in which they first come."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names])
