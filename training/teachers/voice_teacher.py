"""The voice teacher: a learned mix of the layers of frozen speech encoders, attention pooling, one head.

Trained on three corpora and several views of every clip, cross-validated over speakers: what it says about a training
clip comes from nets that never heard that speaker, what it says about valid and test from the mean of all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from training.data.speech_clips import AMONG, CLASSES, SpeechClip
from training.teachers.text_multitask import restricted_cross_entropy
from training.teachers.voice_features import ClipStates

SEVEN: Final = 7
"""contract.labels.EMOTIONS are the first of CLASSES."""
_CALM: Final = CLASSES.index("calm")
_NEUTRAL: Final = CLASSES.index("neutral")


@dataclass(frozen=True)
class VoiceRecipe:
    """How the net is trained."""

    epochs: int = 40
    batch: int = 32
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    width: int = 128
    """Of each encoder's projection."""
    dropout: float = 0.4
    smoothing: float = 0.1
    """Of labels, among the corpus' own classes."""
    hidden_steps: float = 0.15
    """Share of a clip's steps that are left out."""
    mixup: float = 0.3
    """Of batches, that are mixed."""
    other_corpora: float = 1.0
    """Weight of clips that are not RAVDESS'."""


States = Sequence[dict[str, ClipStates]]
"""For each encoder: its states by view."""


class VoiceNet(nn.Module):
    """States of K encoders [B, T, L_k, E_k], mask [B, T] -> logits [B, 9] over CLASSES, pooled [B, D]."""

    def __init__(self, shapes: Sequence[tuple[int, int]], recipe: VoiceRecipe) -> None:
        """Take layers and width of each encoder."""
        super().__init__()
        width = recipe.width
        self.mix = nn.ParameterList(nn.Parameter(torch.zeros(layers)) for layers, _ in shapes)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _, size in shapes)
        self.project = nn.ModuleList(nn.Linear(size, width) for _, size in shapes)
        joint = width * len(shapes)
        self.local = nn.Conv1d(joint, joint, 3, padding=1, groups=8)
        self.attend = nn.Linear(joint, 4)
        self.dropout = nn.Dropout(recipe.dropout)
        self.hidden = nn.Linear(2 * joint, width)
        self.classify = nn.Linear(width, len(CLASSES))

    def forward(self, states: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        parts = []
        for weights, norm, project, x in zip(self.mix, self.norms, self.project, states, strict=True):
            parts.append(project(norm(torch.einsum("btle,l->bte", x, weights.softmax(0)))))
        x = nn.functional.gelu(self.dropout(torch.cat(parts, dim=2)))
        x = x + nn.functional.gelu(self.local((x * mask.unsqueeze(2)).transpose(1, 2))).transpose(1, 2)
        pooled = self.hidden(self.dropout(self._pooled(x, mask)))
        return self.classify(self.dropout(nn.functional.gelu(pooled))), pooled

    def _pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return mean and deviation under attention, a head for every quarter of the channels, [B, 2 D]."""
        attention = self.attend(x).masked_fill(mask.unsqueeze(2) == 0, -1e4).softmax(1)
        weights = attention.repeat_interleave(x.shape[2] // attention.shape[2], dim=2)
        mean = (weights * x).sum(1)
        variance = (weights * x.square()).sum(1) - mean.square()
        return torch.cat([mean, variance.clamp_min(1e-6).sqrt()], dim=1)


@dataclass(frozen=True)
class VoiceData:
    """Clips, their states in every view, and their targets."""

    clips: Sequence[SpeechClip]
    states: States

    def batch(self, rows: Sequence[int], views: Sequence[str]) -> tuple[list[Tensor], Tensor]:
        """Return the padded states of each encoder [B, T, L, E] and their mask [B, T]; one view a row."""
        parts = []
        for encoder in self.states:
            own = [
                torch.from_numpy(encoder[name].of(i).astype(np.float32)) for i, name in zip(rows, views, strict=True)
            ]
            parts.append(nn.utils.rnn.pad_sequence(own, True))
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(x)) for x in own], True)
        return [part[:, : mask.shape[1]] for part in parts], mask

    def targets(self, rows: Sequence[int], smoothing: float) -> tuple[Tensor, Tensor]:
        """Return smoothed targets [B, 9] and the classes among which they were chosen."""
        among = torch.tensor([[name in AMONG[self.clips[i].corpus] for name in CLASSES] for i in rows])
        label = torch.tensor([CLASSES.index(self.clips[i].emotion) for i in rows])
        uniform = among / among.sum(1, keepdim=True)
        return (1 - smoothing) * nn.functional.one_hot(label, len(CLASSES)) + smoothing * uniform, among

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Layers and width of each encoder."""
        return [(int(s.shape[1]), int(s.shape[2])) for s in (next(iter(e.values())).values for e in self.states)]

    @property
    def views(self) -> list[str]:
        """Names of the views."""
        return list(self.states[0])


def train_voice(
    data: VoiceData,
    rows: Sequence[int],
    recipe: VoiceRecipe,
    seed: int,
    after_epoch: Callable[[int, VoiceNet], None] | None = None,
) -> VoiceNet:
    """Train one net on the clips `rows`, each epoch one random view of each (half of the time the clean one)."""
    generator = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = VoiceNet(data.shapes, recipe)
        optimizer = torch.optim.AdamW(net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        steps = recipe.epochs * -(-len(rows) // recipe.batch)
        pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, steps, pct_start=0.1)
        for epoch in range(recipe.epochs):
            net.train()
            order = generator.permutation(rows).tolist()
            for start in range(0, len(order), recipe.batch):
                loss = _loss(net, data, order[start : start + recipe.batch], recipe, generator)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                pace.step()
            if after_epoch:
                after_epoch(epoch, net)
    return net.eval()


def _loss(
    net: VoiceNet, data: VoiceData, rows: list[int], recipe: VoiceRecipe, generator: np.random.Generator
) -> Tensor:
    views = ["clean" if generator.random() < 0.3 else str(generator.choice(data.views)) for _ in rows]
    states, mask = data.batch(rows, views)
    target, among = data.targets(rows, recipe.smoothing)
    weight = torch.tensor([1.0 if data.clips[i].corpus == "ravdess" else recipe.other_corpora for i in rows])
    hidden = torch.from_numpy(generator.random(mask.shape) < recipe.hidden_steps) & (mask.sum(1, keepdim=True) > 5)
    mask = mask * ~hidden
    if generator.random() < recipe.mixup:
        states, mask, target, among = _mixed(states, mask, target, among, float(generator.beta(0.4, 0.4)))
    logits, _ = net(states, mask)
    return (weight * restricted_cross_entropy(logits, target, among)).sum() / weight.sum()


def _mixed(
    states: list[Tensor], mask: Tensor, target: Tensor, among: Tensor, share: float
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Mix each clip with the next of the batch (mixup, Zhang et al. 2018), where both are of one set of classes."""
    other = torch.arange(len(mask)).roll(1)
    same = (among == among[other]).all(1)
    own = torch.where(same, share, 1.0)
    mixed = [own[:, None, None, None] * x + (1 - own)[:, None, None, None] * x[other] for x in states]
    both = torch.where(same[:, None], torch.maximum(mask, mask[other]), mask)
    return mixed, both, own[:, None] * target + (1 - own)[:, None] * target[other], among


@torch.inference_mode()
def voice_outputs(
    nets: Sequence[VoiceNet], data: VoiceData, rows: Sequence[int], what: str, batch: int = 64
) -> tuple[Tensor, Tensor]:
    """Return mean log-probabilities over CLASSES [N, 9] and the first net's pooled features [N, D] in view `what`."""
    logits, pooled = [], []
    for start in range(0, len(rows), batch):
        part = list(rows[start : start + batch])
        answers = [net(*data.batch(part, [what] * len(part))) for net in nets]
        logits.append(torch.stack([answer[0].log_softmax(1) for answer in answers]).mean(0))
        pooled.append(answers[0][1])
    return torch.cat(logits), torch.cat(pooled)


def seven_of(log_probabilities: Tensor) -> Tensor:
    """Return log-probabilities [N, 7] over contract.labels.EMOTIONS of those over CLASSES: calm is neutral."""
    seven = log_probabilities[:, :SEVEN].clone()
    seven[:, _NEUTRAL] = torch.logaddexp(seven[:, _NEUTRAL], log_probabilities[:, _CALM])
    return seven.log_softmax(1)


def eight_of(log_probabilities: Tensor) -> Tensor:
    """Return log-probabilities [N, 8] over RAVDESS' own classes, the first eight of CLASSES."""
    return log_probabilities[:, :8].log_softmax(1)
