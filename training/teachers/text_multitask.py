"""The text teacher: a sentence encoder fine-tuned for polarity, emotion and score at once.

Its lower layers stay as they were, so their states are computed once and kept; one head a task reads the mean state of
the upper ones. Sentences of similar length go together, and a share of them come as a recogniser would write them.
Training can stop after any step and go on from its checkpoint: the batches' order depends on seed and epoch alone.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from contract.labels import EMOTIONS, POLARITIES
from training.data.degraded_text import recogniser_style
from training.data.labelled_texts import LabelledText, Target

log = logging.getLogger(__name__)

MAX_TOKENS: Final = 72
_POOL: Final = 50
"""Batches whose sentences are sorted by length together."""


@dataclass(frozen=True)
class TextRecipe:
    """How the encoder is fine-tuned."""

    epochs: float = 2.0
    batch: int = 32
    learning_rate: float = 8e-5
    """Of the encoder's upper layers, at its peak."""
    head_learning_rate: float = 1e-3
    warm_up: float = 0.08
    """Share of the steps."""
    weight_decay: float = 0.01
    frozen_layers: int = 8
    """The lowest, and the embeddings, stay as they are."""
    recogniser_share: float = 0.4
    """Of the sentences, that come in recogniser's style."""
    emotion_weight: float = 0.7
    score_weight: float = 2.0
    seed: int = 0


@dataclass(frozen=True)
class Labels:
    """Of N texts. A text without a label of a task has `among` all False, or a NaN score."""

    polarity: Tensor
    """[N, 3], probabilities."""
    polarity_among: Tensor
    """bool [N, 3]."""
    emotion: Tensor
    """[N, 7], probabilities."""
    emotion_among: Tensor
    """bool [N, 7]."""
    score: Tensor
    """[N], in [-1, 1] or NaN."""

    @classmethod
    def of(cls, texts: Sequence[LabelledText]) -> "Labels":
        """Collect the labels of `texts`."""
        polarity, polarity_among = _targets([text.polarity for text in texts], len(POLARITIES))
        emotion, emotion_among = _targets([text.emotion for text in texts], len(EMOTIONS))
        score = torch.tensor([float("nan") if text.score is None else text.score for text in texts])
        return cls(polarity, polarity_among, emotion, emotion_among, score)

    def take(self, index: Sequence[int]) -> "Labels":
        """Return a part."""
        rows = torch.tensor(index)
        return Labels(*(tensor[rows] for tensor in vars(self).values()))


@dataclass(frozen=True)
class TextOutput:
    """What the teacher says about B texts."""

    polarity: Tensor
    """[B, 3], logits."""
    emotion: Tensor
    """[B, 7], logits."""
    score: Tensor
    """[B], in (-1, 1)."""
    pooled: Tensor
    """[B, D], the mean state of the last layer."""


class TextTeacher(nn.Module):
    """Texts -> TextOutput."""

    def __init__(self, folder: Path, frozen_layers: int = 8) -> None:
        """Read the encoder and its tokenizer from `folder`: an MPNet (Song et al. 2020)."""
        super().__init__()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.encoder: Any = AutoModel.from_pretrained(folder, add_pooling_layer=False)
        self.width: int = self.encoder.config.hidden_size
        self.dropout = nn.Dropout(0.1)
        self.polarity = nn.Linear(self.width, len(POLARITIES))
        self.emotion = nn.Linear(self.width, len(EMOTIONS))
        self.score = nn.Linear(self.width, 1)
        self.encoder.requires_grad_(False)
        layers: list[nn.Module] = list(self.encoder.encoder.layer)
        self.lower_layers, self.upper_layers = layers[:frozen_layers], layers[frozen_layers:]
        for layer in self.upper_layers:
            layer.requires_grad_(True)

    def train(self, mode: bool = True) -> "TextTeacher":
        """Switch dropout on in the layers that learn, and only there."""
        super().train(mode)
        self.encoder.train(False)
        for layer in self.upper_layers:
            layer.train(mode)
        return self

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, at most MAX_TOKENS."""
        ids: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        return ids

    @torch.no_grad()
    def lower(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return the states of the last frozen layer [B, T, D], and their mask [B, T]."""
        padding: int = self.encoder.config.pad_token_id
        rows = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], True, padding)
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in ids], True)
        return self._through(self.lower_layers, self.encoder.embeddings(input_ids=rows), mask), mask

    def upper(self, states: Tensor, mask: Tensor) -> TextOutput:
        """Go on from the states of the last frozen layer [B, T, D]."""
        states = self._through(self.upper_layers, states, mask)
        pooled = (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        read = self.dropout(pooled)
        return TextOutput(self.polarity(read), self.emotion(read), self.score(read).squeeze(-1).tanh(), pooled)

    def forward(self, texts: Sequence[str]) -> TextOutput:
        """See the class."""
        return self.upper(*self.lower(self.tokens(texts)))

    def _through(self, layers: Sequence[nn.Module], states: Tensor, mask: Tensor) -> Tensor:
        bias = self.encoder.encoder.compute_position_bias(states)
        hidden = (1.0 - mask)[:, None, None, :] * torch.finfo(states.dtype).min
        for layer in layers:
            states = layer(states, hidden, bias)[0]
        return states

    def learned(self) -> dict[str, Tensor]:
        """Return the state of what learns: a checkpoint without the frozen layers."""
        chosen = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: value for name, value in self.state_dict().items() if name in chosen}

    @torch.inference_mode()
    def describe(
        self, texts: Sequence[str], batch: int = 32, progress: Callable[[int], None] | None = None
    ) -> TextOutput:
        """Return the outputs of any number of texts; similar lengths are computed together."""
        self.train(False)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts: list[TextOutput] = []
        for start in range(0, len(order), batch):
            parts.append(self([texts[i] for i in order[start : start + batch]]))
            if progress:
                progress(start)
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return TextOutput(*(torch.cat([vars(part)[name] for part in parts])[back] for name in vars(parts[0])))


def restricted_cross_entropy(logits: Tensor, target: Tensor, among: Tensor) -> Tensor:
    """Return [B]: cross entropy to soft targets, the softmax over the classes `among` alone; 0 where there are none.

    Args:
        logits: [B, C].
        target: [B, C], probabilities, 0 outside `among`.
        among: bool [B, C].
    """
    there = among.any(1)
    limited = logits.masked_fill(~among & there[:, None], -1e4)
    loss = -(target * limited.log_softmax(1)).sum(1)
    return loss * there


def losses(output: TextOutput, labels: Labels, recipe: TextRecipe) -> dict[str, Tensor]:
    """Return the weighted terms, each [B]."""
    known = ~labels.score.isnan()
    difference = output.score - labels.score.nan_to_num()
    return {
        "polarity": restricted_cross_entropy(output.polarity, labels.polarity, labels.polarity_among),
        "emotion": recipe.emotion_weight
        * restricted_cross_entropy(output.emotion, labels.emotion, labels.emotion_among),
        "score": recipe.score_weight * difference.square() * known,
    }


class FrozenStates:
    """The lower layers' states of N texts in a file in half precision; computed when first asked for."""

    def __init__(self, teacher: TextTeacher, texts: Sequence[str], file: Path) -> None:
        self.teacher, self.ids = teacher, teacher.tokens(texts)
        self.end = np.cumsum([len(row) for row in self.ids], dtype=np.int64)
        file.parent.mkdir(parents=True, exist_ok=True)
        self.values = _mapped(file, (int(self.end[-1]), teacher.width), np.float16)
        self.there = _mapped(file.with_suffix(".done"), (len(self.ids),), np.uint8)

    def take(self, index: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return states [B, T, D] and their mask [B, T]."""
        if not self.there[list(index)].all():
            self._fill(index)
        rows = [torch.from_numpy(self.values[self._span(i)]).float() for i in index]
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], True)
        return nn.utils.rnn.pad_sequence(rows, True), mask

    def _fill(self, index: Sequence[int]) -> None:
        states, _ = self.teacher.lower([self.ids[i] for i in index])
        for i, state in zip(index, states, strict=True):
            self.values[self._span(i)] = state[: len(self.ids[i])].numpy()
            self.there[i] = 1

    def _span(self, i: int) -> slice:
        return slice(int(self.end[i]) - len(self.ids[i]), int(self.end[i]))


class TextTraining:
    """Fine-tunes a teacher on labelled texts and keeps its checkpoint."""

    def __init__(
        self, teacher: TextTeacher, texts: Sequence[LabelledText], recipe: TextRecipe, folder: Path, states: Path
    ) -> None:
        """Go on from the checkpoint in `folder`, if there is one; `states` is the file of the frozen states."""
        self.teacher, self.texts, self.recipe, self.folder = teacher, texts, recipe, folder
        self.labels = Labels.of(texts)
        self.states = FrozenStates(teacher, training_views([text.text for text in texts], recipe), states)
        upper = [p for layer in teacher.upper_layers for p in layer.parameters()]
        heads = [p for head in (teacher.polarity, teacher.emotion, teacher.score) for p in head.parameters()]
        self.optimizer = torch.optim.AdamW(
            [{"params": upper, "lr": recipe.learning_rate}, {"params": heads, "lr": recipe.head_learning_rate}],
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.parameters = upper + heads
        self.step = 0
        self.steps_per_epoch = len(epoch_batches(texts, recipe.batch, 0, recipe.seed))
        if self.checkpoint.is_file():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """Where it can go on from."""
        return self.folder / "training.pt"

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return round(self.recipe.epochs * self.steps_per_epoch)

    def run(self, after_step: Callable[[int, dict[str, float]], None], save_every: int = 150) -> None:
        """Train to the end; `after_step(step, terms)` is called after every step."""
        while self.step < self.total:
            epoch, place = divmod(self.step, self.steps_per_epoch)
            torch.manual_seed(self.recipe.seed * 1000 + self.step)
            batches = epoch_batches(self.texts, self.recipe.batch, epoch, self.recipe.seed)
            for index in batches[place : place + self.total - self.step]:
                terms = self._one_step(index)
                self.step += 1
                after_step(self.step, terms)
                if self.step % save_every == 0 or self.step == self.total:
                    self.save()

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.checkpoint.with_suffix(".tmp")
        state = {"step": self.step, "learned": self.teacher.learned(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, temporary)
        os.replace(temporary, self.checkpoint)
        (self.folder / "recipe.json").write_text(json.dumps(asdict(self.recipe), indent=1) + "\n")

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.step = state["step"]
        self.teacher.load_state_dict(state["learned"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("going on from step %d", self.step)

    def _one_step(self, index: list[int]) -> dict[str, float]:
        recipe = self.recipe
        self.teacher.train()
        share = self._pace()
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        terms = losses(self.teacher.upper(*self.states.take(index)), self.labels.take(index), recipe)
        total = torch.stack([term.mean() for term in terms.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return {name: float(term.detach().mean()) for name, term in terms.items()}

    def _pace(self) -> float:
        """Linear warm-up, then linear to zero."""
        warm = max(1, round(self.recipe.warm_up * self.total))
        return min((self.step + 1) / warm, (self.total - self.step) / max(1, self.total - warm))


def training_views(texts: Sequence[str], recipe: TextRecipe) -> list[str]:
    """Return the texts, a share of them as a recogniser writes them; the same for the same texts and seed."""
    return [_training_view(text, number, recipe) for number, text in enumerate(texts)]


def _training_view(text: str, number: int, recipe: TextRecipe) -> str:
    generator = np.random.default_rng((recipe.seed, number))
    if generator.random() >= recipe.recogniser_share:
        return text
    return recogniser_style(text, generator) or text


def epoch_batches(texts: Sequence[LabelledText], batch: int, epoch: int, seed: int) -> list[list[int]]:
    """Return batches of similar lengths in random order."""
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(texts)).tolist()
    pools = (order[start : start + _POOL * batch] for start in range(0, len(order), _POOL * batch))
    parts = [part for pool in pools for part in _sorted_parts(texts, pool, batch)]
    return [parts[i] for i in generator.permutation(len(parts))]


def _sorted_parts(texts: Sequence[LabelledText], pool: list[int], batch: int) -> Iterator[list[int]]:
    ordered = sorted(pool, key=lambda i: len(texts[i].text))
    for start in range(0, len(ordered), batch):
        yield ordered[start : start + batch]


def _targets(targets: Sequence[Target | None], classes: int) -> tuple[Tensor, Tensor]:
    nothing = Target((0.0,) * classes, (False,) * classes)
    known = [target or nothing for target in targets]
    return torch.tensor([t.probabilities for t in known]), torch.tensor([t.among for t in known])


def _mapped(file: Path, shape: tuple[int, ...], dtype: type[Any]) -> Any:
    """Return an array over a file, which is made, full of zeros, where it is not there."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    fits = file.is_file() and file.stat().st_size == size
    return np.memmap(file, dtype=dtype, mode="r+" if fits else "w+", shape=shape)
