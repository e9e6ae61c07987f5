"""Which layer of the student meets which layer of a teacher, and how their shapes are brought together.

Features are sequences [B, T, D] with an optional mask [B, T], maps [B, D, H, W], or vectors [B, D]. Methods see one
of two forms:

- a grid [B, N, D] of N positions (steps, cells of a map, or the one of a vector). Where the two sides have different
  numbers of steps, rows or columns, both are taken to span the same time or picture, and the longer is averaged down
  to the shorter; masked steps don't count in an average, and a position is there when both sides have it. A sequence
  beside a map or a vector becomes its mean.
- vectors [B, D]: the mean over the positions that are there, or all positions flattened with zeros where masked.

Masked steps are replaced, not multiplied: whatever stands in them, NaN included, reaches neither value nor
gradient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from contract.labels import MODALITIES
from training.distillation.methods.base import Terms
from training.distillation.methods.checks import Layers
from training.distillation.methods.responses import require_teachers
from training.distillation.outputs import Output

Pooling = Literal["mean", "flatten"]
Where = Literal["middle", "last"]
"""Which layers are paired where none are named."""
_FORM = {2: "vector [B, D]", 3: "sequence [B, T, D]", 4: "map [B, D, H, W]"}


@dataclass(frozen=True)
class Pair:
    """A layer of the student and the layer of a teacher that it shall resemble."""

    teacher: str
    """The teacher's name."""
    layers: tuple[str, str]
    """Names of the two layers, the student's first."""
    features: tuple[Tensor, Tensor]
    """Of the student and of the teacher."""
    masks: tuple[Tensor | None, Tensor | None]

    def __str__(self) -> str:
        return f"student {self.layers[0]!r} and {self.layers[1]!r} of teacher {self.teacher!r}"

    @property
    def key(self) -> str:
        """Name of what is trained for this pair, fit for a ModuleDict, which takes no dots."""
        return f"{self.teacher}:{self.layers[0]}-{self.layers[1]}".replace(".", "%2E")

    @property
    def widths(self) -> tuple[int, int]:
        """D of the student and of the teacher."""
        student, teacher = (feature.shape[1 if feature.ndim == 4 else -1] for feature in self.features)
        return student, teacher

    def grids(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return student [B, N, D_s], teacher [B, N, D_t] and the mask [B, N] of positions that both have."""
        student, teacher = self.features
        if student.ndim != teacher.ndim or student.ndim == 2:
            return self._as_one_position()
        if student.ndim == 4:
            size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
            grids = [_shrink_map(feature, size).flatten(2).transpose(1, 2) for feature in self.features]
            return grids[0], grids[1], torch.ones_like(grids[0][..., 0])
        steps = min(student.shape[1], teacher.shape[1])
        (student, mask), (teacher, other) = (
            _shrink_sequence(feature, mask, steps) for feature, mask in zip(self.features, self.masks, strict=True)
        )
        both = mask * other
        there = both.unsqueeze(-1) > 0
        return torch.where(there, student, 0.0), torch.where(there, teacher, 0.0), both

    def vectors(self, pooling: Pooling = "mean") -> tuple[Tensor, Tensor]:
        """Return student [B, D_s] and teacher [B, D_t]."""
        reduce = pooled if pooling == "mean" else _flattened
        student, teacher = (reduce(feature, mask) for feature, mask in zip(self.features, self.masks, strict=True))
        return student, teacher

    def require_positions(self, method: str) -> None:
        """Raise ValueError unless both layers are sequences, or both maps."""
        student, teacher = self.features
        if student.ndim != teacher.ndim or student.ndim == 2:
            raise ValueError(
                f"{method} compares positions, so it needs two sequences or two maps; the student's {self.layers[0]!r} "
                f"is a {_FORM[student.ndim]} and {self.layers[1]!r} of teacher {self.teacher!r} a "
                f"{_FORM[teacher.ndim]}; name other layers"
            )

    def _as_one_position(self) -> tuple[Tensor, Tensor, Tensor]:
        student, teacher = self.vectors()
        return student.unsqueeze(1), teacher.unsqueeze(1), student.new_ones(len(student), 1)


def pairs_of(
    method: str, layers: Layers, student: Output, teachers: Mapping[str, Output], where: Where = "last"
) -> dict[str, list[Pair]]:
    """Return the pairs of every teacher.

    Args:
        method: for error messages.
        layers: pairs (student layer, teacher layer); a teacher layer written `teacher:layer` is for that teacher alone.
            Empty: one feature of each.
        student, teachers: give the features.
        where: which one that is: the last, or the middle one of those that aren't streams of modalities (of an even
            number the earlier).

    Raises:
        ValueError: no teacher, a missing layer, a teacher without a pair, or a feature of a wrong shape.
    """
    require_teachers(method, teachers)
    for name in [layer.rpartition(":")[0] for _, layer in layers if ":" in layer]:
        if name not in teachers:
            raise ValueError(f"{method}: layers name the teacher {name!r}, the teachers are {', '.join(teachers)}")
    return {name: _pairs_of_one(method, layers, student, name, teacher, where) for name, teacher in teachers.items()}


def layer_terms(
    method: str,
    layers: Layers,
    student: Output,
    teachers: Mapping[str, Output],
    term: Callable[[Pair], Tensor],
    part: str = "",
    where: Where = "last",
) -> Terms:
    """Return `method/teacher` (or `method_part/teacher`) for every teacher: `term` [B] summed over its pairs."""
    return {
        f"{method}{'_' * bool(part)}{part}/{teacher}": torch.stack([term(pair) for pair in pairs]).sum(0)
        for teacher, pairs in pairs_of(method, layers, student, teachers, where).items()
    }


def pooled(feature: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the positions that are there, [B, D]; 0 for a sample that has none."""
    if feature.ndim == 4:
        return feature.mean((2, 3))
    if feature.ndim == 2:
        return feature
    return feature.mean(1) if mask is None else masked_mean(feature, mask)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of [B, N, ...] over the N with mask [B, N], [B, ...]; 0 for a row that has none."""
    there = (mask > 0).view(*mask.shape, *[1] * (x.ndim - 2))
    return torch.where(there, x, 0.0).sum(1) / there.sum(1).clamp_min(1)


def _pairs_of_one(method: str, layers: Layers, student: Output, name: str, teacher: Output, where: Where) -> list[Pair]:
    mine = [(ours, own) for ours, theirs in layers if (own := _own(theirs, name)) is not None]
    if not layers:
        mine = [
            (_default(method, "the student", student, where), _default(method, f"teacher {name!r}", teacher, where))
        ]
    if not mine:
        raise ValueError(f"{method}: layers have no pair for teacher {name!r}; add (student layer, '{name}:layer')")
    return [_pair(method, student, name, teacher, names) for names in mine]


def _own(layer: str, teacher: str) -> str | None:
    """The layer's name without its teacher's, or None where it is another teacher's."""
    owner, colon, name = layer.rpartition(":")
    return name if not colon or owner == teacher else None


def _pair(method: str, student: Output, name: str, teacher: Output, names: tuple[str, str]) -> Pair:
    ours = _feature(method, "the student", student, names[0])
    theirs = _feature(method, f"teacher {name!r}", teacher, names[1])
    if len(ours) != len(theirs):
        raise ValueError(
            f"{method}: the student's batch has {len(ours)} samples, that of teacher {name!r} {len(theirs)}"
        )
    return Pair(name, names, (ours, theirs), (student.masks.get(names[0]), teacher.masks.get(names[1])))


def _feature(method: str, who: str, output: Output, layer: str) -> Tensor:
    if layer not in output.features:
        raise ValueError(f"{method}: {who} has no feature {layer!r}: it has {', '.join(output.features) or 'none'}")
    feature, mask = output.features[layer], output.masks.get(layer)
    if feature.ndim not in _FORM:
        raise ValueError(
            f"{method}: {layer!r} of {who} is {tuple(feature.shape)}; it must be a {', '.join(_FORM.values())}"
        )
    if mask is not None and feature.ndim == 3 and mask.shape != feature.shape[:2]:
        raise ValueError(
            f"{method}: the mask of {layer!r} of {who} is {tuple(mask.shape)}, its feature {tuple(feature.shape)}; "
            "the mask must be [B, T]"
        )
    return feature


def _default(method: str, who: str, output: Output, where: Where) -> str:
    if not output.features:
        raise ValueError(
            f"{method} needs features, and {who} gives none; choose a model that returns them, or a response method"
        )
    names = list(output.features)
    inner = [name for name in names if name.partition(".")[0] not in MODALITIES]
    return inner[(len(inner) - 1) // 2] if where == "middle" and inner else names[-1]


def _flattened(feature: Tensor, mask: Tensor | None) -> Tensor:
    if feature.ndim == 3 and mask is not None:
        feature = torch.where(mask.unsqueeze(-1) > 0, feature, 0.0)
    return feature.flatten(1)


def _bins(size: int, bins: int, like: Tensor) -> Tensor:
    """[bins, size], 1 where position `size` falls into the bin: the bins of adaptive average pooling."""
    edges = torch.arange(bins + 1, device=like.device) * size
    first = edges[:-1].div(bins, rounding_mode="floor").unsqueeze(1)
    last = (edges[1:] + bins - 1).div(bins, rounding_mode="floor").unsqueeze(1)
    position = torch.arange(size, device=like.device)
    return ((position >= first) & (position < last)).to(like.dtype)


def _shrink_sequence(feature: Tensor, mask: Tensor | None, steps: int) -> tuple[Tensor, Tensor]:
    """Average [B, T, D] down to [B, steps, D], and say with [B, steps] which averages have a step."""
    there = feature.new_ones(feature.shape[:2]) if mask is None else (mask > 0).to(feature.dtype)
    clean = torch.where(there.unsqueeze(-1) > 0, feature, 0.0)
    if feature.shape[1] == steps:
        return clean, there
    weights = _bins(feature.shape[1], steps, feature) * there.unsqueeze(1)
    total = weights.sum(-1, keepdim=True)
    return weights @ clean / total.clamp_min(1), (total.squeeze(-1) > 0).to(feature.dtype)


def _shrink_map(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """Average [B, D, H, W] down to [B, D, *size]."""
    if feature.shape[2:] == size:
        return feature
    rows, columns = (_bins(have, want, feature) for have, want in zip(feature.shape[2:], size, strict=True))
    rows, columns = rows / rows.sum(1, keepdim=True), columns / columns.sum(1, keepdim=True)
    return torch.einsum("ih,bdhw,jw->bdij", rows, feature, columns)
