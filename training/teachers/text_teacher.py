"""The text teacher: a BERT-family encoder from any Hugging Face folder or name, with our two heads.

Fine-tuned for one epoch over all text corpora; it then labels the very sentences it saw once, and their unlabelled
emotions, for the student.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from training.data.corpora import TextTargets, text_targets, training_sentences
from training.data.sst_mr import load_sst2
from training.distillation.losses import classification, sentiment_entropy
from training.models.served.heads import EmotionHead
from training.teachers.fit import Pace, fit, similar_lengths

log = logging.getLogger(__name__)

BATCH: Final = 32
LEARNING_RATE: Final = 8e-5
MAX_TOKENS: Final = 64
FROZEN_LAYERS: Final = 3
"""Of MiniLM's six: two thirds of the time, and nearly all of the accuracy."""


class TextTeacher(nn.Module):
    """Texts -> emotion logits [B, 7] and sentiment [B, 1]."""

    def __init__(self, folder: Path | str) -> None:
        super().__init__()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.encoder: Any = AutoModel.from_pretrained(folder)
        self.head = EmotionHead(self.encoder.config.hidden_size, dropout=0.1)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return logits and sentiment."""
        logits, sentiment = self.head(self.pooled(texts))
        return logits, sentiment

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """Return the mean state of the last layer, [B, D]."""
        tokens = self.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt")
        hidden: Tensor = self.encoder(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        pooled: Tensor = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return pooled

    def freeze_lower_layers(self, count: int) -> None:
        """Leave the embeddings and the first `count` layers as they are."""
        for module in (self.encoder.embeddings, *self.encoder.encoder.layer[:count]):
            module.requires_grad_(False)

    def label(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return logits [N, 7] and sentiment [N] of any number of texts."""
        _, logits, sentiment = self.describe(texts)
        return logits, sentiment

    @torch.inference_mode()
    def describe(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean states [N, D], logits [N, 7] and sentiment [N] of any number of texts."""
        self.eval()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        pooled = torch.zeros(len(texts), self.encoder.config.hidden_size)
        for start in range(0, len(order), 64):
            index = order[start : start + 64]
            pooled[index] = self.pooled([texts[i] for i in index])
        logits, sentiment = self.head(pooled)
        return pooled, logits, sentiment.squeeze(-1)


def teach(folder: Path | str, data: Path, out: Path, seed: int = 0, limit: int | None = None) -> dict[str, float]:
    """Fine-tune, measure on SST-2's validation split, and write the outputs for all training sentences to `out`.

    `out` holds `texts`, `logits` [N, 7], `sentiment` [N] and `metrics`.
    """
    torch.manual_seed(seed)
    teacher = TextTeacher(folder)
    teacher.freeze_lower_layers(FROZEN_LAYERS)
    sentences = training_sentences(data)
    targets = text_targets(sentences)
    texts = [sentence.text for sentence in sentences]
    chosen = torch.randperm(len(texts))[:limit]
    fine_tune(teacher, texts, targets, chosen)
    held_out = load_sst2(data, "valid")
    _, sentiment = teacher.label([s.text for s in held_out])
    positive = torch.tensor([s.polarity == "positive" for s in held_out])
    metrics = {"sst2_valid": 100 * float(((sentiment > 0) == positive).float().mean())}
    log.info("teacher: %s", metrics)
    logits, sentiment = teacher.label(texts)
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"texts": texts, "logits": logits, "sentiment": sentiment, "metrics": metrics}, out)
    return metrics


def fine_tune(teacher: TextTeacher, texts: list[str], targets: TextTargets, chosen: Tensor) -> None:
    """Train in place, for one epoch, on those of N texts that are `chosen` (int64 [M]).

    Draws from torch's global generator.
    """
    batches = similar_lengths(texts, chosen.tolist(), BATCH)

    def loss(index: list[int]) -> Tensor:
        logits, score = teacher([texts[i] for i in index])
        terms = classification(logits, targets.emotion[index]) + sentiment_entropy(score, targets.sentiment[index])
        return terms.mean()

    teacher.train()
    fit(teacher, batches, len(batches), loss, Pace(LEARNING_RATE))
