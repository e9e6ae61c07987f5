"""Modalities decoupled into what they have in common and what each has for itself: the codes, and the losses that make
them so. Of Li, Wang & Cui, *Decoupled Multimodal Distilling for Emotion Recognition*, CVPR 2023 (DMD).

    c_m = E(x_m), p_m = E_m(x_m):  common code, one encoder for all modalities, and private code
    L_rec = sum_m |x_m - D_m([c_m, p_m])|^2             L_cyc = sum_m |p_m - E_m(D_m([c_m, p_m]))|^2
    L_mar = mean over triples of max(0, alpha - cos(c_i, c_j) + cos(c_i, c_k)):
            j of another modality and the same class as i, k of the same modality and another class
    L_ort = sum_m cos(c_m, p_m)^2
    L_dec = L_rec + L_cyc + gamma (L_mar + L_ort)

Squares are means over channels. Knows nothing of teachers; a multimodal net that has codes of its own can be trained
with `decoupling`, too.

Differences to the authors' code: it takes the same class for the same real-valued label, any other sample for k, and
.15 times the difference of the labels for alpha; here triples are those of the text. Its orthogonality is
max(0, cos), which leaves opposite codes alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.distillation.methods.modalities import modalities_of, representation, rows_with
from training.distillation.methods.numerics import unit
from training.distillation.outputs import Output


@dataclass
class Codes:
    """The codes of one batch: modality -> [B, D], 0 for samples that lack it."""

    there: dict[str, Tensor] = field(default_factory=dict)
    """Modality -> bool [B], which samples have it."""
    inputs: dict[str, Tensor] = field(default_factory=dict)
    """x_m."""
    reconstructed: dict[str, Tensor] = field(default_factory=dict)
    """D_m([c_m, p_m])."""
    common: dict[str, Tensor] = field(default_factory=dict)
    """c_m; all of one width."""
    private: dict[str, Tensor] = field(default_factory=dict)
    """p_m; of the same width."""
    cycled: dict[str, Tensor] = field(default_factory=dict)
    """E_m(D_m([c_m, p_m]))."""

    @staticmethod
    def are_given(output: Output) -> bool:
        """Whether the output has what `given` reads; told by the common codes."""
        return all(f"{modality}.common" in output.features for modality in modalities_of(output))

    @classmethod
    def given(cls, output: Output) -> "Codes":
        """Return the codes of a net that makes them itself: features `m.input`, `m.reconstructed`, `m.common`,
        `m.private` and `m.cycled`, each [B, D], for every modality m.
        """
        names = modalities_of(output)

        def codes(part: str) -> dict[str, Tensor]:
            return {m: _kept(output.features[f"{m}.{part}"], rows_with(output, m)) for m in names}

        there = {m: rows_with(output, m) for m in names}
        return cls(there, codes("input"), codes("reconstructed"), codes("common"), codes("private"), codes("cycled"))


def decoupling(codes: Codes, classes: Tensor, margin: float, gamma: float) -> Tensor:
    """Return L_dec, [B], its parts that couple a batch split by anchor; `classes` [B], -1 for unknown."""
    rest = margin_loss(codes, classes, margin) + orthogonality(codes)
    return reconstruction(codes) + cycle(codes) + gamma * rest


def reconstruction(codes: Codes) -> Tensor:
    """Return L_rec, [B]."""
    return _squared(codes.inputs, codes.reconstructed)


def cycle(codes: Codes) -> Tensor:
    """Return L_cyc, [B]."""
    return _squared(codes.private, codes.cycled)


def orthogonality(codes: Codes) -> Tensor:
    """Return L_ort, [B]."""
    cosines = [(unit(common) * unit(codes.private[m])).sum(-1) for m, common in codes.common.items()]
    return torch.stack(cosines).square().sum(0)


def margin_loss(codes: Codes, classes: Tensor, margin: float) -> Tensor:
    """Return L_mar split by anchor, [B]: its mean over the batch is the mean over triples; 0 where there is none.

    Time and memory grow with the square of the batch, not with its triples.
    """
    directions = {m: unit(common) for m, common in codes.common.items()}
    known = classes >= 0
    same = classes.unsqueeze(1) == classes
    sums, triples = [], []
    for m, anchor in directions.items():
        own = (codes.there[m] & known).unsqueeze(1)
        others = {n: own & same & codes.there[n] for n in directions if n != m}
        # A part of width 0, so that a single modality has nothing to concatenate but that.
        positive = torch.cat([anchor[:, :0], *(anchor @ directions[n].T for n in others)], 1)
        is_positive = torch.cat([same[:, :0], *others.values()], 1)
        is_negative = own & ~same & codes.there[m] & known
        sums.append(hinges(positive, is_positive, anchor @ anchor.T, is_negative, margin))
        triples.append(is_positive.sum(1) * is_negative.sum(1))
    count = torch.stack(triples).sum()
    return torch.stack(sums).sum(0) * len(classes) / count.clamp_min(1)


def hinges(positive: Tensor, is_positive: Tensor, negative: Tensor, is_negative: Tensor, margin: float) -> Tensor:
    """Return the sum over j and k of max(0, margin - positive_ij + negative_ik), [B], without making all pairs.

    Negatives in descending order: those above positive_ij - margin come first, and their sum is a prefix sum.

    Args:
        positive, is_positive: [B, P], and which of them count.
        negative, is_negative: [B, N], and which of them count.
        margin: how far above the negatives a positive is to be.
    """
    ordered, place = torch.where(is_negative, negative, -torch.inf).sort(1, descending=True)
    counted = is_negative.gather(1, place)
    prefix = functional.pad(torch.where(counted, ordered, 0.0).cumsum(1), (1, 0))
    bar = positive - margin
    above = torch.searchsorted(-ordered.detach().contiguous(), -bar.detach().contiguous())
    return torch.where(is_positive, prefix.gather(1, above) - above * bar, 0.0).sum(1)


class Encoders(nn.Module):
    """One encoder of what is common, and one of what is private to each modality: linear, as the authors'."""

    def __init__(self, modalities: tuple[str, ...], width: int) -> None:
        super().__init__()
        self.common = nn.Linear(width, width)
        self.private = nn.ModuleDict({modality: nn.Linear(width, width) for modality in modalities})


class Side(nn.Module):
    """The way of one model's modalities into the encoders, and back: x_m is the model's own representation."""

    def __init__(self, widths: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.enter = nn.ModuleDict({modality: nn.Linear(own, width) for modality, own in widths.items()})
        self.leave = nn.ModuleDict({modality: nn.Linear(2 * width, own) for modality, own in widths.items()})

    def forward(self, output: Output, encoders: Encoders) -> Codes:
        """Return the codes of all modalities."""
        codes = Codes()
        for modality, enter in self.enter.items():
            there, x = rows_with(output, modality), representation(output, modality)
            encode = encoders.private[modality]
            entered = enter(x)
            common, private = encoders.common(entered), encode(entered)
            back = self.leave[modality](torch.cat([common, private], 1))
            codes.there[modality], codes.inputs[modality] = there, x
            codes.common[modality], codes.private[modality] = _kept(common, there), _kept(private, there)
            codes.reconstructed[modality], codes.cycled[modality] = (
                _kept(back, there),
                _kept(encode(enter(back)), there),
            )
        return codes


def _squared(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([(x - other[modality]).square().mean(-1) for modality, x in one.items()]).sum(0)


def _kept(x: Tensor, there: Tensor) -> Tensor:
    return torch.where(there.unsqueeze(1), x, 0.0)
