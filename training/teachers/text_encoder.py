"""Any Hugging Face text encoder, by name or folder, fine-tuned on a task's sentences, out of fold.

Its states are put on the student's word pieces: the state of a piece is the mean of the encoder's tokens that share
letters with it. Fine-tuning moves the encoder little, so the folds' nets keep nearly one space, that of the pretrained
weights, and nothing has to be rotated.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from training.data.folder import Split
from training.distillation.outputs import Output
from training.teachers.cache import SPLITS, folder_sha256
from training.teachers.fetch import PACKAGES, TeacherError, teacher_folder
from training.teachers.fit import Pace, fit, similar_lengths
from training.teachers.text_source import TextSource

log = logging.getLogger(__name__)

MAX_TOKENS = 96
Spans = Sequence[Sequence[tuple[int, int]]]
"""Of every sentence, of every piece of the student's: the letters that it stands for; (0, 0) for special tokens."""


@dataclass(frozen=True)
class TuningRecipe:
    """How an encoder is fine-tuned."""

    epochs: int = 2
    learning_rate: float = 1e-4
    batch: int = 32
    frozen: float = 0.5
    """Share of the layers, the lowest, that stay as they are; with them the embeddings."""
    folds: int = 3
    seed: int = 0

    def key(self) -> dict[str, object]:
        """For the cache."""
        return asdict(self)


@dataclass(frozen=True)
class Sentences:
    """One split of N texts."""

    texts: Sequence[str]
    spans: Spans
    """Of the student's pieces."""
    pieces: int
    """Length to which the student's inputs are padded."""
    target: Tensor
    """int64 [N]; used of the training sentences alone."""


class TunedEncoder(nn.Module):
    """Texts -> logits, the states of the middle and the last layer, and their tokens' spans."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.tokenizer, self.encoder = load_encoder(name)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(self.encoder.config.hidden_size, classes)

    def tokens(self, texts: Sequence[str]) -> Any:
        """Return the encoder's inputs, with offsets."""
        return self.tokenizer(
            list(texts),
            truncation=True,
            max_length=MAX_TOKENS,
            padding=True,
            return_tensors="pt",
            return_offsets_mapping=True,
        )

    def forward(self, tokens: Any) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Return logits [B, C], the mean state [B, D], and the middle and the last layer's states [B, T, D]."""
        inputs = {name: value for name, value in tokens.items() if name != "offset_mapping"}
        states = self.encoder(**inputs, output_hidden_states=True).hidden_states
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        pooled = (states[-1] * mask).sum(1) / mask.sum(1)
        return self.head(self.dropout(pooled)), pooled, (states[len(states) // 2], states[-1])

    def freeze(self, share: float) -> None:
        """Leave the embeddings and the lowest `share` of the layers as they are."""
        layers = _layers_of(self.encoder)
        for module in (self.encoder.get_input_embeddings(), *layers[: round(share * len(layers))]):
            module.requires_grad_(False)


def load_encoder(name: str) -> tuple[Any, Any]:
    """Return tokenizer and encoder; raises TeacherError when there are none, or the tokenizer knows no offsets."""
    try:
        tokenizer, encoder = AutoTokenizer.from_pretrained(name), AutoModel.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise TeacherError(f"no Hugging Face text encoder at {name!r}: {error}") from None
    if not tokenizer.is_fast:
        raise TeacherError(f"the tokenizer of {name!r} gives no offsets: a fast tokenizer is needed")
    return tokenizer, encoder


class FrozenText(TextSource):
    """An encoder as it is: the mean state of its last layer."""

    def __init__(self, name: str, key: dict[str, object] | None = None) -> None:
        """Take a name or folder; `key` where its identity is known without reading it."""
        self.name, self._key = name, key

    def key(self) -> dict[str, object]:
        """For the cache."""
        return self._key or encoder_key(self.name)

    @torch.inference_mode()
    def describe(self, texts: Sequence[str], batch: int = 64) -> Tensor:
        """[N, D]; zeros for an empty text."""
        tokenizer, encoder = load_encoder(self.name)
        vectors = torch.zeros(len(texts), encoder.config.hidden_size)
        order = sorted((i for i, text in enumerate(texts) if text), key=lambda i: len(texts[i]))
        for start in range(0, len(order), batch):
            index = order[start : start + batch]
            part = [texts[i] for i in index]
            tokens = tokenizer(part, truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt")
            mask = tokens["attention_mask"].unsqueeze(-1).float()
            vectors[index] = (encoder(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
        return vectors


class MiniLm(FrozenText):
    """The fetched sentence encoder."""

    def __init__(self, weights: Path) -> None:
        super().__init__(str(teacher_folder("minilm", weights)), minilm_key())


def minilm_key() -> dict[str, object]:
    """For the cache."""
    return {"source": "minilm", "weights": PACKAGES["minilm"].sha256}


def encoder_key(name: str) -> dict[str, object]:
    """For the cache: a folder's content; of a name on the hub the commit that is loaded."""
    if Path(name).is_dir():
        return {"source": "hf", "weights": folder_sha256(Path(name))}
    return {"source": "hf", "weights": name, "commit": str(load_encoder(name)[1].config._commit_hash)}


def tune_out_of_fold(
    name: str, sentences: Mapping[Split, Sentences], fold: Tensor, classes: int, recipe: TuningRecipe
) -> dict[Split, Output]:
    """Fine-tune one net a fold: `train` gets what each says about its own fold, `valid` and `test` the mean of all.

    Returns:
        Outputs with `h1` and `h2`, the middle and the last layer on the student's pieces, and `penultimate`.
    """
    everything = torch.arange(len(sentences["train"].texts))
    numbers: list[int] = torch.unique(fold).tolist()
    outputs: dict[Split, Output] = {}
    for number in numbers:
        log.info("fold %d", number)
        net = _tuned(name, sentences["train"], everything[fold != number], classes, recipe)
        own = everything[fold == number]
        for split in SPLITS:
            rows = own if split == "train" else torch.arange(len(sentences[split].texts))
            part = label(net, _take(sentences[split], rows))
            outputs.setdefault(split, _zeros_like(part, len(sentences[split].texts)))
            _add(outputs[split], part, rows, 1.0 if split == "train" else 1 / len(numbers))
    return outputs


def _zeros_like(part: Output, count: int) -> Output:
    def zeros(x: Tensor | None) -> Tensor:
        assert x is not None
        return torch.zeros(count, *x.shape[1:], dtype=x.dtype)

    features = {layer: zeros(feature) for layer, feature in part.features.items()}
    return Output(
        zeros(part.logits), features=features, masks={layer: zeros(mask) for layer, mask in part.masks.items()}
    )


def _add(into: Output, part: Output, rows: Tensor, share: float) -> None:
    assert into.logits is not None
    assert part.logits is not None
    into.logits[rows] += share * part.logits
    for layer, feature in part.features.items():
        into.features[layer][rows] += share * feature
    for layer, mask in part.masks.items():
        into.masks[layer][rows] = mask


@torch.inference_mode()
def label(net: TunedEncoder, sentences: Sentences, batch: int = 64) -> Output:
    """Return the outputs for any number of sentences; similar lengths are computed together."""
    net.eval()
    count, pieces = len(sentences.texts), sentences.pieces
    width = net.encoder.config.hidden_size
    layers = {name: torch.zeros(count, pieces, width, dtype=torch.float16) for name in ("h1", "h2")}
    logits, pooled, mask = (
        torch.zeros(count, net.head.out_features),
        torch.zeros(count, width),
        torch.zeros(count, pieces),
    )
    order = sorted(range(count), key=lambda i: len(sentences.texts[i]))
    for start in range(0, count, batch):
        index = order[start : start + batch]
        tokens = net.tokens([sentences.texts[i] for i in index])
        logits[index], pooled[index], states = net(tokens)
        spans = [sentences.spans[i] for i in index]
        weights = shared_letters(spans, tokens["offset_mapping"], tokens["attention_mask"], pieces)
        mask[index] = (weights.sum(-1) > 0).float()
        for name, layer in zip(layers, states, strict=True):
            layers[name][index] = (weights @ layer).half()
    return Output(logits, features={**layers, "penultimate": pooled}, masks=dict.fromkeys(layers, mask))


def shared_letters(spans: Spans, offsets: Tensor, attention: Tensor, pieces: int) -> Tensor:
    """Return [B, pieces, T]: weights that average the encoder's tokens which share letters with a student's piece.

    The student's first and last special token take the encoder's; its other pieces of no letters take nothing.

    Args:
        spans: of the student's pieces.
        offsets: [B, T, 2], the letters of the encoder's tokens.
        attention: [B, T].
        pieces: number of rows.
    """
    rows = torch.zeros(len(spans), pieces, 2, dtype=torch.long)
    for row, own in zip(rows, spans, strict=True):
        row[: len(own)] = torch.tensor(own, dtype=torch.long).view(-1, 2)
    begin, end = (
        torch.maximum(rows[:, :, None, 0], offsets[:, None, :, 0]),
        torch.minimum(rows[:, :, None, 1], offsets[:, None, :, 1]),
    )
    shared = (end - begin).clamp_min(0).float() * attention.unsqueeze(1)
    for i, own in enumerate(spans):
        if own:
            shared[i, 0, 0] = 1.0
            shared[i, len(own) - 1, int(attention[i].sum()) - 1] = 1.0
    weights: Tensor = shared / shared.sum(-1, keepdim=True).clamp_min(1e-6)
    return weights


def _tuned(name: str, sentences: Sentences, chosen: Tensor, classes: int, recipe: TuningRecipe) -> TunedEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = TunedEncoder(name, classes)
        net.freeze(recipe.frozen)
        _train(net, sentences, chosen, recipe)
    return net


def _train(net: TunedEncoder, sentences: Sentences, chosen: Tensor, recipe: TuningRecipe) -> None:
    texts = list(sentences.texts)
    batches = [
        part
        for _ in range(recipe.epochs)
        for part in similar_lengths(texts, chosen[torch.randperm(len(chosen))].tolist(), recipe.batch)
    ]

    def loss(index: list[int]) -> Tensor:
        logits = net(net.tokens([texts[i] for i in index]))[0]
        return nn.functional.cross_entropy(logits, sentences.target[index])

    net.train()
    fit(net, batches, len(batches), loss, Pace(recipe.learning_rate))


def _take(sentences: Sentences, index: Tensor) -> Sentences:
    rows = index.tolist()
    texts, spans = [sentences.texts[i] for i in rows], [sentences.spans[i] for i in rows]
    return Sentences(texts, spans, sentences.pieces, sentences.target[index])


def _layers_of(encoder: Any) -> list[nn.Module]:
    """The longest list of layers in the encoder, whatever its family calls it."""
    lists = [list(module) for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=[])
