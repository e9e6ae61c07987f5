"""After Kim & Kang, *Cross-modal distillation with audio-text fusion for fine-grained emotion classification using BERT
and Wav2vec 2.0*, Neurocomputing 506, 2022. Of the paper only the abstract was available: this is a method of its kind,
not its reproduction.

    mapping:    1/2 [NCE(s, t) + NCE(t, s)],  NCE(s, t)_i = -log e^{s_i . t_i / T} / sum_j e^{s_i . t_j / T}
    attention:  the same between a and the teacher's fused feature, a the mean over tokens of y
                c_m = x_m + cross(x_m; x_n, n != m),    y = c + self(c; c)

The abstract says that the feature spaces of students and teachers are mapped by contrastive learning, and that during
distillation cross-attention works between audio and text, and self-attention within a modality. s, t: linear
projections of a feature of either side, divided by their norm; j runs over the batch, whose other samples are the
negatives, so that memory does not depend on the data set; T: temperature. x_m: the tokens of the student's modality m,
projected and normalised: the steps of a sequence, or the one vector [B, D] of an utterance. A query finds in `cross`
the tokens of the other modalities that the sample has, and none of its own; in `self` all of the sample's. The
attention is trained with the student and thrown away with the method: what stays is that the student's features of
single modalities have what their fusion needs.

Features are paired by name: every modality that both sides have, and what they have of all modalities together. A
teacher of one modality is met by the student's fused feature whatever its modality is, so a teacher that sees faces
maps its space onto that of a student that hears: that is all that is cross-modal then, since a student of one modality
has no partner to attend to. Its `self` works over the steps of its last sequence; where there is none, the method is
the mapping alone. With one vector a modality and two modalities each query of `cross` has one token to look at, which
it mixes in with weight 1.

No code of the authors was found. Their students keep the attention for fusion; here the student has a fusion of its
own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from training.distillation.methods import checks
from training.distillation.methods.adapted import Adapted, placed
from training.distillation.methods.base import Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.crd import infonce
from training.distillation.methods.matching import Pair, masked_mean, pairs_of
from training.distillation.methods.modalities import fused_pairs, modalities_of, representation, rows_with
from training.distillation.methods.numerics import unit
from training.distillation.outputs import Batch, Output
from training.models.attention import Attention, masked_bias

ATTENDED = "attended"
"""What the student's feature that comes out of the attention is called."""

Tokens = dict[str, tuple[Tensor, Tensor]]
"""Stream -> tokens [B, T, D] and their mask [B, T]; what is not there is 0."""


def mapping(s: Tensor, t: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss [B] of embeddings [B, D], the mean of both directions.

    Rows that are not `valid` [B] have no loss and are nobody's negatives.
    """
    scores = unit(s) @ unit(t).T / temperature
    others = valid & ~torch.eye(len(valid), dtype=torch.bool, device=valid.device)
    positive = scores.diagonal()
    both = infonce(positive, scores, others) + infonce(positive, scores.T, others)
    return torch.where(valid, both / 2, 0.0)


def tokens_of(student: Output) -> Tokens:
    """Return the tokens of every modality, or of the last sequence of a student of one modality; empty without any."""
    layers = modalities_of(student) or [name for name, x in student.features.items() if x.ndim == 3][-1:]
    return {layer: _tokens(student, layer) for layer in layers}


class Attending(nn.Module):
    """Cross-attention between the streams of a sample, then self-attention over all of them: one vector a sample."""

    def __init__(self, widths: Mapping[str, int], width: int, heads: int) -> None:
        """Make it for streams whose tokens have these widths."""
        super().__init__()
        # Streams may have any name, keys of a ModuleDict may not.
        self.order = {name: str(i) for i, name in enumerate(widths)}
        self.project = nn.ModuleDict({self.order[name]: nn.Linear(size, width) for name, size in widths.items()})
        self.norm = nn.LayerNorm(width)
        self.cross = Attention(width, heads) if len(widths) > 1 else None
        self.within = Attention(width, heads)

    def forward(self, tokens: Tokens) -> Tensor:
        """Return [B, width]; the mean over the tokens that are there."""
        if tokens.keys() != self.order.keys():
            raise ValueError(
                f"cmd was built for {', '.join(self.order)} of the student, and now has {', '.join(tokens)}"
            )
        streams = [self.norm(self.project[key](tokens[name][0])) for name, key in self.order.items()]
        masks = [tokens[name][1].to(streams[0].dtype) for name in self.order]
        if self.cross is not None:
            streams = [x + self._from_others(self.cross, i, streams, masks) for i, x in enumerate(streams)]
        x, mask = torch.cat(streams, 1), torch.cat(masks, 1)
        return masked_mean(x + self.within(x, x, masked_bias(mask)), mask)

    @staticmethod
    def _from_others(cross: Attention, place: int, streams: list[Tensor], masks: list[Tensor]) -> Tensor:
        """What the tokens of a stream find in the other streams, [B, T, width]; 0 where the sample has no other."""
        context = torch.cat(streams[:place] + streams[place + 1 :], 1)
        mask = torch.cat(masks[:place] + masks[place + 1 :], 1)
        found: Tensor = cross(streams[place], context, masked_bias(mask))
        return torch.where(mask.any(1)[:, None, None], found, 0.0)


class Spaces(nn.Module):
    """Projections of one pair of features into the space in which they are compared."""

    def __init__(self, ours: int, theirs: int, width: int) -> None:
        super().__init__()
        self.project_student = nn.Linear(ours, width)
        self.project_teacher = nn.Linear(theirs, width)

    def forward(self, h_s: Tensor, h_t: Tensor, valid: Tensor, temperature: float) -> Tensor:
        """Return the contrastive loss [B] of features [B, D]."""
        return mapping(self.project_student(h_s), self.project_teacher(h_t), valid, temperature)


@dataclass(frozen=True)
class CMDConfig:
    """Hyper-parameters of `cmd`."""

    layers: Layers = ()
    """Pairs (student layer, teacher layer), `teacher:layer` for one teacher alone; empty: every modality that both
    have, and the fused features."""
    temperature: float = 0.1
    """T: the smaller, the more the nearest negatives count."""
    width: int = 64
    """Dimensions of the common spaces and of the attention."""
    heads: int = 4
    """Of the attention; they divide `width`."""
    mapping: float = 1.0
    """Factor of the mapping between the spaces."""
    attention: float = 1.0
    """Factor of the mapping of what the attention finds; 0: there is none."""

    def __post_init__(self) -> None:
        checks.layers(self)
        checks.number(self, "temperature", above=0)
        checks.count(self, "width")
        checks.count(self, "heads")
        checks.number(self, "mapping", least=0)
        checks.number(self, "attention", least=0)
        if self.width % self.heads:
            raise ValueError(f"heads must divide width, got {self.heads} heads and a width of {self.width}")


class CMD(Adapted):
    """Maps the spaces of student and teacher onto each other, modality by modality, and attends across modalities."""

    name = "cmd"
    family = "E"
    paper = (
        "after Kim & Kang, Cross-modal distillation with audio-text fusion for fine-grained emotion classification "
        "using BERT and Wav2vec 2.0, Neurocomputing, 2022 (abstract only)"
    )
    equation = (
        "1/2 [NCE(p(h_s), q(h_t)) + NCE(q(h_t), p(h_s))] for every modality and for the fused feature, and the same "
        "for a = mean(c + self(c; c)), c_m = x_m + cross(x_m; x_n, n != m)"
    )
    needs = frozenset({"features"})
    scaled = ("mapping", "attention")
    Config = CMDConfig
    config: CMDConfig

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__(**hyperparameters)
        self._layers: Layers = ()
        self.attending: Attending | None = None

    @property
    def layers(self) -> Layers:
        """Pairs (student layer, teacher layer), those of the attention included."""
        return self._layers

    def make(self, pair: Pair) -> Spaces:
        """Create the projections."""
        h_s, h_t = pair.vectors()
        return Spaces(h_s.shape[1], h_t.shape[1], self.config.width)

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create attention and projections; raises ValueError for a missing layer, or for outputs without features."""
        student = student.lifted()
        named = self.config.layers or _layers_by_name(student, teachers)
        tokens = tokens_of(student)
        if tokens and self.config.attention:
            widths = {name: x.shape[-1] for name, (x, _) in tokens.items()}
            attending = Attending(widths, self.config.width, self.config.heads)
            self.attending = placed(attending, student.features[next(iter(tokens))])
            named += tuple((ATTENDED, layer) for _, layer in fused_pairs(self.name, student, teachers))
        self._layers = named
        super().build(self._with_attention(student), teachers)

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `cmd_mapping/teacher` and, where there is attention, `cmd_attention/teacher` for every teacher."""
        student = self._with_attention(student)
        terms: Terms = {}
        for name, pairs in pairs_of(self.name, self._layers, student, teachers).items():
            losses = [(pair.layers[0] == ATTENDED, self._term(pair, student, teachers[name])) for pair in pairs]
            for part, weight in (("mapping", self.config.mapping), ("attention", self.config.attention)):
                own = [loss for attended, loss in losses if attended == (part == "attention")]
                if own:
                    terms[f"cmd_{part}/{name}"] = weight * torch.stack(own).sum(0)
        return terms

    def _term(self, pair: Pair, student: Output, teacher: Output) -> Tensor:
        valid = rows_with(student, pair.layers[0]) & rows_with(teacher, pair.layers[1])
        h_s, h_t = representation(student, pair.layers[0]), representation(teacher, pair.layers[1])
        loss: Tensor = self.adapter(pair)(h_s, h_t, valid, self.config.temperature)
        return loss

    def _with_attention(self, student: Output) -> Output:
        """The student's output with what the attention makes of it as one more feature."""
        if self.attending is None:
            return student
        return replace(student, features={**student.features, ATTENDED: self.attending(tokens_of(student))})


def _layers_by_name(student: Output, teachers: Mapping[str, Output]) -> Layers:
    """Every modality that both have, and what they have of all modalities together, teacher by teacher."""
    shared = [
        (modality, f"{name}:{modality}")
        for name, teacher in teachers.items()
        for modality in modalities_of(student)
        if modality in modalities_of(teacher)
    ]
    return (*shared, *fused_pairs("cmd", student, teachers))


def _tokens(student: Output, layer: str) -> tuple[Tensor, Tensor]:
    feature = student.features[layer]
    x = feature if feature.ndim == 3 else representation(student, layer).unsqueeze(1)
    there = rows_with(student, layer).unsqueeze(1).expand(x.shape[:2])
    if layer in student.masks and feature.ndim == 3:
        there = there & (student.masks[layer] > 0)
    return torch.where(there.unsqueeze(-1), x, 0.0), there
