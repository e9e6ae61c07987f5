"""Trains the text student: embeddings from the teacher's, then Hinton KD beside the corpora's own labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch import Tensor

from contract.labels import EMOTIONS
from contract.models import EMBEDDING_DIM
from training.data import meld, tweeteval, vader
from training.data.corpora import text_targets, training_sentences
from training.data.folder import Split
from training.data.sentences import Sentence, bare
from training.data.sst_mr import load_sst2
from training.data.tokenizer import encode_texts, load_tokenizer
from training.distillation.losses import classification, sentiment_entropy
from training.distillation.methods.kd import kd
from training.loop import Schedule, fit
from training.metrics import Scores, classification_scores, fit_temperature
from training.models.served.text import TextEncoder
from training.recipes.run import Run

EPOCHS: Final = 8
BATCH: Final = 64
LEARNING_RATE: Final = 1e-3
TEMPERATURE: Final = 2.0
KD_WEIGHT: Final = 0.7
"""Share of the teacher in both terms; the labels have the rest."""
BARE_SHARE: Final = 0.4
"""Share of sentences without punctuation, as speech recognisers write them."""

_SPLITS: Final[tuple[Split, ...]] = ("valid", "test")

TextBatch = tuple[Tensor, Tensor, Tensor]


def train_text(run: Run, teacher_outputs: Path | None, teacher: Path | None) -> dict[str, float]:
    """Train, calibrate on validation and keep `<runs>/text_encoder/best.pt`; returns the validation metrics.

    Args:
        run: see there.
        teacher_outputs: the file that `training.teachers.text_teacher.teach` wrote; None trains on labels alone.
        teacher: the folder of the teacher's encoder, whose embeddings are the start of ours; None starts at random.
    """
    run.start()
    student = TextEncoder()
    tokenizer = load_tokenizer(run.tokenizer)
    if teacher is not None:
        table = safetensors.torch.load_file(teacher / "model.safetensors")["embeddings.word_embeddings.weight"]
        theirs = load_tokenizer(teacher / "tokenizer.json")
        student.pieces.weight.data.copy_(teacher_embeddings(tokenizer, theirs, table))
    taught = Taught(run, tokenizer, teacher_outputs)
    valid = TextSets(run, tokenizer, "valid")

    def loss(batch: TextBatch) -> Tensor:
        ids, mask, index = batch
        encoded = student.encode(ids, mask)
        labels = classification(encoded.logits, taught.emotion[index]) + sentiment_entropy(
            encoded.sentiment, taught.sentiment[index]
        )
        if taught.teacher is None:
            return labels.mean()
        logits, sentiment = taught.teacher
        from_teacher = kd(encoded.logits, logits[index], TEMPERATURE) + sentiment_entropy(
            encoded.sentiment, sentiment[index]
        )
        return ((1 - KD_WEIGHT) * labels + KD_WEIGHT * from_teacher).mean()

    def validate() -> dict[str, float]:
        scores = valid.evaluate(student)
        return {
            "score": scores["sst2"].accuracy + scores["meld"].macro_f1,
            "sst2": scores["sst2"].accuracy,
            "meld_f1": scores["meld"].macro_f1,
            "meld": scores["meld"].accuracy,
            "vader_mae": valid.vader_error(student),
        }

    folder = run.runs / "text_encoder"
    schedule = Schedule(run.epochs or EPOCHS, taught.steps, LEARNING_RATE, weight_decay=0.05)
    best = fit(student, taught.batches, loss, validate, schedule, folder)
    logits, _ = predict(student, *valid.meld_inputs)
    student.head.temperature.fill_(fit_temperature(logits, valid.meld_labels))
    torch.save(student.state_dict(), folder / "best.pt")
    return best


class Taught:
    """The training sentences, with and without punctuation, with their labels and the teacher's outputs."""

    def __init__(self, run: Run, tokenizer: Tokenizer, teacher_outputs: Path | None) -> None:
        sentences = training_sentences(run.data)
        texts = [sentence.text for sentence in sentences]
        self.teacher = _teacher_outputs(teacher_outputs, texts)
        targets = text_targets(sentences)
        self.emotion, self.sentiment = targets.emotion, targets.sentiment
        self.variants = [encode_texts(tokenizer, form) for form in (texts, [bare(text) or text for text in texts])]
        self.lengths = self.variants[0][1].sum(dim=1)
        self.steps = len(texts) // BATCH

    def batches(self, _: int) -> Iterator[TextBatch]:
        """Yield ids and mask, cut to the longest of the batch, and the sentences' indices; similar lengths together."""
        order = torch.randperm(len(self.emotion))[: self.steps * BATCH]
        pools = [pool[self.lengths[pool].argsort()] for pool in torch.split(order, 40 * BATCH)]
        parts = [part for pool in pools for part in torch.split(pool, BATCH)]
        for i in torch.randperm(len(parts)).tolist():
            index = parts[i]
            plain = torch.rand(len(index), 1) >= BARE_SHARE
            ids, mask = (
                torch.where(plain, a[index], b[index]) for a, b in zip(self.variants[0], self.variants[1], strict=True)
            )
            longest = int(mask.sum(dim=1).max())
            yield ids[:, :longest], mask[:, :longest], index


def _teacher_outputs(path: Path | None, texts: list[str]) -> tuple[Tensor, Tensor] | None:
    """Return the teacher's logits [N, 7] and sentiment [N] of the training sentences, by their text."""
    if path is None:
        return None
    stored: dict[str, Any] = torch.load(path, weights_only=True)
    row = {text: i for i, text in enumerate(stored["texts"])}
    unknown = sum(text not in row for text in texts)
    if unknown:
        raise ValueError(f"{path} lacks {unknown} of the training sentences: teach again")
    index = torch.tensor([row[text] for text in texts])
    return stored["logits"][index], stored["sentiment"][index]


class TextSets:
    """Held-out sentences of one split: SST-2 by the sign of the sentiment, MELD by emotion, VADER by rating."""

    def __init__(self, run: Run, tokenizer: Tokenizer, split: Split) -> None:
        sst2, self.vader = load_sst2(run.data, split), vader.load(run.data, split)
        talk: list[Sentence] = meld.load(run.data, split)
        self.sst2_inputs = encode_texts(tokenizer, [s.text for s in sst2])
        self.sst2_labels = torch.tensor([int(s.polarity == "positive") for s in sst2])
        self.meld_inputs = encode_texts(tokenizer, [s.text for s in talk])
        self.meld_labels = text_targets(talk).emotion
        self.vader_inputs = encode_texts(tokenizer, [s.text for s in self.vader])
        self.tweet_inputs: tuple[Tensor, Tensor] | None = None
        if split == "valid":
            tweets = tweeteval.load(run.data, "valid")
            self.tweet_inputs = encode_texts(tokenizer, [s.text for s in tweets])
            self.tweet_labels = text_targets(tweets).emotion

    def evaluate(self, student: TextEncoder) -> dict[str, Scores]:
        """Return scores; SST-2's are those of (1 - s) / 2, (1 + s) / 2, MELD's are calibrated."""
        _, sentiment = predict(student, *self.sst2_inputs)
        probabilities = torch.stack([1 - sentiment, 1 + sentiment], dim=1) / 2
        logits, _ = predict(student, *self.meld_inputs)
        scores = {
            "sst2": classification_scores(probabilities.clamp(min=1e-6).log(), self.sst2_labels),
            "meld": classification_scores(logits / student.head.temperature, self.meld_labels),
        }
        if self.tweet_inputs is not None:
            logits, _ = predict(student, *self.tweet_inputs)
            known = torch.zeros(len(EMOTIONS), dtype=torch.bool)
            known[torch.unique(self.tweet_labels)] = True
            scores["tweeteval"] = classification_scores(logits.masked_fill(~known, -1e4), self.tweet_labels)
        return scores

    def vader_error(self, student: TextEncoder) -> float:
        """Return the mean absolute error of the sentiment against VADER's human ratings / 4."""
        _, sentiment = predict(student, *self.vader_inputs)
        return float((sentiment - text_targets(self.vader).sentiment).abs().mean())


@torch.inference_mode()
def predict(student: TextEncoder, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return uncalibrated logits [N, 7] and sentiment [N]."""
    student.eval()
    outputs = [student.encode(i, m) for i, m in zip(torch.split(ids, 256), torch.split(mask, 256), strict=True)]
    return torch.cat([o.logits for o in outputs]), torch.cat([o.sentiment for o in outputs]).squeeze(-1)


def evaluate_text(student: TextEncoder, run: Run) -> dict[str, Scores]:
    """Return scores by split and corpus."""
    tokenizer = load_tokenizer(run.tokenizer)
    return {
        f"{split}_{corpus}": scores
        for split in _SPLITS
        for corpus, scores in TextSets(run, tokenizer, split).evaluate(student).items()
    }


def teacher_embeddings(tokenizer: Tokenizer, teacher: Tokenizer, table: Tensor) -> Tensor:
    """Return [VOCABULARY, D] for our pieces: the mean of the teacher's pieces for the same letters, then PCA.

    Args:
        tokenizer: ours.
        teacher: the teacher's, word pieces as well.
        table: the teacher's embeddings [V, E].
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    mean = torch.zeros(len(vocabulary), table.shape[1])
    for piece, index in vocabulary.items():
        mean[index] = table[_teacher_pieces(piece, teacher)].mean(dim=0)
    centred = mean - mean.mean(dim=0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    reduced = centred @ axes[:EMBEDDING_DIM].T
    scaled: Tensor = reduced / reduced.std() * 0.1
    return scaled


def _teacher_pieces(piece: str, teacher: Tokenizer) -> Sequence[int]:
    known: int | None = teacher.token_to_id(piece)
    if known is not None:
        return [known]
    spelled: list[int] = teacher.encode(piece.removeprefix("##"), add_special_tokens=False).ids
    return spelled
