"""Li, Wang & Cui, *Decoupled Multimodal Distilling for Emotion Recognition*, CVPR 2023.

    L = sum over heads |f(codes) - y| + .05 (G_common + G_private) + .1 L_dec         L_dec: see `decoupling`
    G = sum over edges i -> j of (w_ij + prior_ij) [|f_i - f_j| + 10 (1 - cos(h_i, h_j))] + reg |mean of w - prior|^2
    w = softmax over edges of v . tanh(W [f_j; h_j; f_i; h_i]) / 8

Every modality is decoupled into a common and a private code h; in the space of common codes and in that of private ones
knowledge flows over a graph, whose edges i -> j are weighted sample by sample. f: linear heads, one for each modality
in each space, one over all common codes, and one over all codes, each trained on the labels: eight for three
modalities. The mean of w is over the batch.

As a method of two models, knowledge flows from each of the teacher's modalities to each of the student's, the same one
included: the paper distils one net's modalities into each other, and there an edge from a modality to itself is void.
Teacher and student keep their own way in and out of the encoders and share these, and the heads: so there is one common
space. A representation is reconstructed as the model gave it, so that the codes of a teacher cannot yield to the
student's by saying nothing. All of it is trained with the student and thrown away with the method. A modality that a
sample lacks has no edges and no heads. A student that makes codes itself (features `text.common`, `text.private` and so
on, as `training.models.teachers.DmdNet` does) keeps them, at their width, and the teachers' are made to lie beside
them.

Where this differs from the authors' code: it fixes the pattern of the edges by its prior (.48 on text -> video and
text -> audio in one space; .33 on these and video -> audio in the other) and a regulariser of weight 10, and shows it
as learned: here the prior is uniform unless "authors" is asked for, and the regulariser is a hyper-parameter. In the
private space it adds max(0, cos), which drives codes apart, where 1 - cos draws them together; in the common one it
computes the term of the representations and never adds it. Its scores of edges are linear in both ends, so that what
one end adds does not depend on the other; tanh makes them pairs. Its edges in the private space come behind
transformers across modalities, and stop the gradient at their source, which nothing does here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from contract.labels import MODALITIES
from training.distillation.losses import classification
from training.distillation.methods import checks
from training.distillation.methods.adapted import placed
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.decoupling import Codes, Encoders, Side, decoupling
from training.distillation.methods.dmd_graph import FAVOURED, Edges, Nodes, Prior, edges_between, graph, prior_of
from training.distillation.methods.modalities import require_modalities
from training.distillation.methods.responses import require_teachers
from training.distillation.outputs import Batch, Output

SPACES = ("common", "private")


@dataclass(frozen=True)
class DMDConfig:
    """Hyper-parameters of `dmd`."""

    width: int = 32
    """Dimensions of the codes; those of a student that makes codes itself count before this."""
    hidden: int = 32
    """Units of the net that scores the edges."""
    labels: Literal["score", "target"] = "score"
    """Whether the heads learn the score, by absolute error, or the class, by cross entropy."""
    heads: float = 1.0
    """Factor of each head's loss."""
    graph: float = 0.05
    """Factor of the graphs."""
    decoupling: float = 0.1
    """Factor of L_dec."""
    gamma: float = 0.1
    """Factor of margin and orthogonality within L_dec."""
    margin: float = 0.1
    """alpha: how much nearer a common code is to its class in other modalities than to other classes in its own."""
    says: float = 1.0
    """Factor of the difference between what heads say, along an edge."""
    codes: float = 10.0
    """Factor of the angle between codes, along an edge."""
    prior: Prior = "uniform"
    """What is added to the learned weights of edges: the same everywhere, or what the authors' code adds."""
    regulariser: float = 1.0
    """reg, how strongly the mean weights are drawn to the prior; the authors' 10 leaves nothing to learn."""

    def __post_init__(self) -> None:
        checks.count(self, "width")
        checks.count(self, "hidden")
        checks.choice(self, "labels", ("score", "target"))
        checks.choice(self, "prior", ("uniform", "authors"))
        for field in ("heads", "graph", "decoupling", "gamma", "margin", "says", "codes", "regulariser"):
            checks.number(self, field, least=0)


class DMD(Method):
    """Decouples modalities into common and private codes, and distils over a graph in the space of each."""

    name = "dmd"
    family = "E"
    paper = "Li, Wang & Cui, Decoupled Multimodal Distilling for Emotion Recognition, CVPR, 2023"
    equation = (
        "sum_heads |f - y| + .05 sum_{i->j} (w_ij + prior_ij) [|f_i - f_j| + 10 (1 - cos(h_i, h_j))] in either space "
        "+ .1 (reconstruction + cycle + .1 (margin + orthogonality))"
    )
    needs = frozenset({"features", "score", "target"})
    scaled = ("graph", "decoupling")
    Config = DMDConfig
    config: DMDConfig

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__(**hyperparameters)
        self.sides, self.heads, self.edges = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self._keys: dict[str, str] = {}
        self._weights: dict[str, Tensor] = {}

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create codes, heads and graphs; raises ValueError where a model has no feature of a single modality."""
        require_teachers(self.name, teachers)
        self._keys = {"": "student"} | {name: f"teacher{i}" for i, name in enumerate(teachers)}
        outputs = {"": student, **teachers}
        found = {name: require_modalities(self.name, _called(name), output) for name, output in outputs.items()}
        every = tuple(m for m in MODALITIES if any(m in names for names in found.values()))
        given = Codes.are_given(student)
        size = student.features[f"{found[''][0]}.common"].shape[-1] if given else self.config.width
        count = self._outputs(student)
        self.encoders = Encoders(every, size)
        for name, output in (teachers if given else outputs).items():
            self.sides[self._keys[name]] = Side({m: output.features[m].shape[-1] for m in found[name]}, size)
        for space in SPACES:
            self.heads[space] = nn.ModuleDict({m: nn.Linear(size, count) for m in every})
            for name in teachers:
                prior = prior_of(edges_between(found[name], found[""]), FAVOURED[space], self.config.prior)
                self.edges[f"{space}_{self._keys[name]}"] = Edges(size + count, self.config.hidden, prior)
        width = len(found[""]) * size
        self.fused_heads = nn.ModuleDict({"common": nn.Linear(width, count), "all": nn.Linear(2 * width, count)})
        placed(self, student.features[found[""][0]])

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `dmd_heads/teacher`, `dmd_graph/teacher` and `dmd_decoupling/teacher` for every teacher.

        The student's own part of heads and decoupling stands in the terms of each teacher, whose weights sum to 1.

        Raises:
            ValueError: no teachers, or a model has no feature of a single modality.
        """
        require_teachers(self.name, teachers)
        for who, output in {"student": student, **teachers}.items():
            require_modalities(self.name, who, output)
        config = self.config
        weighing = (config.says, config.codes, config.regulariser)
        own = self._side("", student)
        own_heads = self._fused_heads(own, batch) + self._single_heads(own, batch)
        own_decoupling = self._decoupling(own, batch)
        terms: Terms = {}
        self._weights = {}
        for name, teacher in teachers.items():
            theirs = self._side(name, teacher)
            graphs = []
            for space in SPACES:
                edges = self._edges_of(space, name)
                value, weights = graph(self._nodes(own, space), self._nodes(theirs, space), edges, weighing)
                graphs.append(value)
                called = [f"{space}.{name}.{edge}" for edge in edges_between(tuple(theirs.common), tuple(own.common))]
                self._weights |= dict(zip(called, weights.detach().unbind(1), strict=True))
            terms[f"dmd_heads/{name}"] = config.heads * (own_heads + self._single_heads(theirs, batch))
            terms[f"dmd_graph/{name}"] = config.graph * torch.stack(graphs).sum(0)
            terms[f"dmd_decoupling/{name}"] = config.decoupling * (own_decoupling + self._decoupling(theirs, batch))
        return terms

    def edge_weights(self) -> dict[str, Tensor]:
        """Return the learned weights of the last call: `space.teacher.modality>modality` -> [B], without gradient."""
        return self._weights

    def _outputs(self, student: Output) -> int:
        """How many outputs a head has."""
        if self.config.labels == "score":
            return 1
        if student.logits is None:
            raise ValueError('dmd: the student gives no logits, so labels = "target" has no classes; set it to "score"')
        return student.logits.shape[1]

    def _side(self, name: str, output: Output) -> Codes:
        """The codes of the student (name "") or of a teacher."""
        if not self._keys:
            raise ValueError("dmd: call build(student, teachers) once, before the optimiser is made")
        if not name and Codes.are_given(output):
            return Codes.given(output)
        if name not in self._keys:
            raise ValueError(f"dmd was built without teacher {name!r}; build it with the outputs of all teachers")
        require_modalities(self.name, f"teacher {name!r}" if name else "the student", output)
        codes: Codes = self.sides[self._keys[name]](output, self.encoders)
        return codes

    def _edges_of(self, space: str, teacher: str) -> Edges:
        edges = self.edges[f"{space}_{self._keys[teacher]}"]
        assert isinstance(edges, Edges)
        return edges

    def _says(self, codes: Codes, space: str) -> dict[str, Tensor]:
        """Modality -> what its head in the space says, [B, outputs]."""
        heads = self.heads[space]
        assert isinstance(heads, nn.ModuleDict)
        return {m: heads[m](code) for m, code in getattr(codes, space).items()}

    def _nodes(self, codes: Codes, space: str) -> Nodes:
        says = torch.stack(list(self._says(codes, space).values()), 1)
        stacked = torch.stack(list(getattr(codes, space).values()), 1)
        return Nodes(says, stacked, torch.stack(list(codes.there.values()), 1))

    def _single_heads(self, codes: Codes, batch: Batch) -> Tensor:
        """Losses of the heads of single modalities, [B]."""
        losses = [
            torch.where(codes.there[m], self._label_loss(said, batch), 0.0)
            for space in SPACES
            for m, said in self._says(codes, space).items()
        ]
        return torch.stack(losses).sum(0)

    def _fused_heads(self, codes: Codes, batch: Batch) -> Tensor:
        """Losses of the heads over the common codes and over all, [B]."""
        common = torch.cat(list(codes.common.values()), 1)
        everything = torch.cat([common, *codes.private.values()], 1)
        said = self.fused_heads["common"](common), self.fused_heads["all"](everything)
        return self._label_loss(said[0], batch) + self._label_loss(said[1], batch)

    def _label_loss(self, said: Tensor, batch: Batch) -> Tensor:
        """Absolute error or cross entropy, [B]; 0 for samples without a label."""
        if self.config.labels == "target":
            return classification(said, _labels(batch))
        if batch.score is None:
            raise ValueError('dmd needs a score for its heads, and the batch has none; set labels to "target"')
        score = batch.score.to(said.dtype)
        known = ~score.isnan()
        return torch.where(known, said.squeeze(1) - torch.where(known, score, 0.0), 0.0).abs()

    def _decoupling(self, codes: Codes, batch: Batch) -> Tensor:
        return decoupling(codes, _labels(batch), self.config.margin, self.config.gamma)


def _labels(batch: Batch) -> Tensor:
    if batch.target is None:
        raise ValueError("dmd needs the class of every sample (Batch.target), for its margin")
    return batch.target


def _called(name: str) -> str:
    return f"teacher {name!r}" if name else "the student"
