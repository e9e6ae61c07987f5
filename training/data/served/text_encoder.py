"""The text student's task: every corpus of labelled texts at once, and a recogniser's spelling of each.

Labels are emotions, some chosen among a few of the seven, and a sentiment: people's mean rating, else the valence of a
polarity (`POLARITY_SENTIMENT`). The student is chosen by SST-2's accuracy, which goes by the sign of the sentiment, and
MELD's macro F1 together.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch import Tensor

from contract.labels import EMOTIONS, POLARITIES, VALENCE
from training.data import augment
from training.data.calibration import classification_scores
from training.data.clip_folder import Folder
from training.data.degraded_text import recogniser_style
from training.data.labelled_texts import LabelledText, one_hot, rated, sst2, talk, training_texts, tweets
from training.data.served.base import ServedTask, fit_emotion_temperature, require_emotions
from training.data.sst import TOKENIZER
from training.data.task import Hooks, Inputs, Samples, Split, TeacherBank
from training.data.tokenizer import encode_texts, load_tokenizer, teacher_embeddings
from training.distillation.losses import classification, sentiment_entropy
from training.distillation.outputs import Batch, Output
from training.models.answer import with_score
from training.models.served.students import ServedStudent, TextStudent
from training.names import check_name
from training.teachers.cache import SPLITS, OutputCache, file_sha256, recipe_hash
from training.teachers.fetch import PACKAGES, TeacherError, teacher_folder
from training.teachers.lexical import Vader
from training.teachers.linear import linear_outputs
from training.teachers.random_teacher import random_outputs
from training.teachers.text_encoder import FrozenText
from training.teachers.text_source import TextSource

POLARITY_SENTIMENT: Final = 0.45
"""Of "positive" alone: the mean rating / 4 of SST-5's sentences that are not neutral."""
RECOGNISER_SHARE: Final = 0.4
"""Of the sentences of a batch, that come as a recogniser writes them."""
EDITORIALS: Final = 1500
"""Most of these long sentences in training."""
_STORED: Final = "stored:"
_HUGGING_FACE: Final = "hf:"
_VERSION: Final = 1


class TextEncoderTask(ServedTask):
    """See the module. Inputs: `ids`, `ids_mask` [B, 64]; of training samples also `heard`, `heard_mask`."""

    name = "text_encoder"
    metric = "sst2_and_talk"
    teacher_names: tuple[str, ...] = ("minilm", "vader", "random")
    student_names: tuple[str, ...] = ("default", "warm")

    def __init__(self, data: Path, cache: Path = Path("cache"), tokenizer: Path = TOKENIZER) -> None:
        """Take the data folder, the folder for weights and teachers' outputs, and the repository's tokenizer."""
        self.data, self.cache, self.tokenizer_file = data, cache, tokenizer
        self.hooks = Hooks(self._loss, None, by_source, fit_emotion_temperature)
        self._samples: dict[Split, Samples] = {}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The repository's word pieces."""
        return load_tokenizer(self.tokenizer_file)

    @cached_property
    def texts(self) -> dict[Split, list[LabelledText]]:
        """The labelled texts of every split."""
        texts: dict[Split, list[LabelledText]] = {"train": training_texts(self.data, EDITORIALS)}
        for split in SPLITS[1:]:
            texts[split] = [text for part in (sst2, talk, rated, tweets) for text in part(self.data, split)]
        return texts

    def fingerprint(self) -> str:
        """Return the hash of the texts with their labels, and of the tokenizer."""
        texts = {split: [repr(text) for text in self.texts[split]] for split in SPLITS}
        return recipe_hash({"texts": texts, "tokenizer": file_sha256(self.tokenizer_file), "version": _VERSION})

    def samples(self, split: Split) -> Samples:
        """Return word pieces, emotions, sentiment, the classes `among` which the emotion was chosen, and the source."""
        if split not in self._samples:
            self._samples[split] = self._labelled(split)
        return self._samples[split]

    def augment(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Take the recogniser's spelling of some, make a tenth of the pieces unknown, cut to the longest text."""
        heard = torch.rand(len(inputs["ids"]), 1, generator=generator) < RECOGNISER_SHARE
        mask = torch.where(heard, inputs["heard_mask"], inputs["ids_mask"])
        ids = torch.where(heard, inputs["heard"], inputs["ids"])
        longest = max(1, int(mask.sum(dim=1).max()))
        ids, mask = ids[:, :longest], mask[:, :longest]
        return {"ids": augment.dropped_words(ids, mask, generator), "ids_mask": mask}

    def teacher(self, name: str) -> TeacherBank:
        """Return linear models over MiniLM's vectors or VADER's scores, noise, or what a file says of the texts.

        `hf:NAME_OR_FOLDER` is any text encoder; `stored:FILE` holds the outputs of one, see `stored_outputs`.
        """
        if name.startswith(_STORED):
            texts = {split: [text.text for text in self.texts[split]] for split in SPLITS}
            return TeacherBank(name, lambda split: stored_outputs(Path(name.removeprefix(_STORED)), texts[split]))
        if name.startswith(_HUGGING_FACE):
            return self._linear(name, lambda: FrozenText(name.removeprefix(_HUGGING_FACE)))
        hint = f"; {_HUGGING_FACE}NAME_OR_FOLDER takes any text encoder, {_STORED}FILE outputs of one"
        check_name("teacher", name, self.teacher_names, hint)
        if name == "random":
            return TeacherBank(name, self._random)
        return self._linear(name, self._minilm if name == "minilm" else Vader)

    def _student(self, name: str) -> ServedStudent:
        """`warm` starts from MiniLM's word pieces."""
        student = TextStudent(self.labels)
        if name == "warm":
            folder = teacher_folder("minilm", self.cache / "teachers")
            stored = safetensors.torch.load_file(folder / "model.safetensors")
            theirs = load_tokenizer(folder / "tokenizer.json")
            table = teacher_embeddings(self.tokenizer, theirs, stored["embeddings.word_embeddings.weight"])
            student.model.pieces.weight.data.copy_(table)
        return student

    def _minilm(self) -> FrozenText:
        folder = str(teacher_folder("minilm", self.cache / "teachers"))
        return FrozenText(folder, {"source": "minilm", "weights": PACKAGES["minilm"].sha256})

    def _linear(self, name: str, make: Callable[[], TextSource]) -> TeacherBank:
        store = OutputCache(self.cache / "teacher_outputs" / self.name)

        def outputs(split: Split) -> Output:
            source = make()
            key = {**source.key(), "samples": self.fingerprint(), "head": "linear"}
            return store.get(name, key, split, lambda: self._fitted(source))

        return TeacherBank(name, outputs)

    def _fitted(self, source: TextSource) -> dict[Split, Output]:
        vectors = {split: source.describe([text.text for text in self.texts[split]]) for split in SPLITS}
        train = self.samples("train")
        assert train.target is not None
        assert train.score is not None
        return linear_outputs(vectors, train.target, train.score, len(self.labels))

    def _random(self, split: Split) -> Output:
        output = random_outputs(split, len(self.texts[split]), len(self.labels), None)
        return with_score(output, torch.tensor([VALENCE[label] for label in self.labels]))

    def _labelled(self, split: Split) -> Samples:
        texts = self.texts[split]
        plain = [text.text for text in texts]
        inputs = dict(zip(("ids", "ids_mask"), _pieces(self.tokenizer, plain), strict=True))
        if split == "train":
            rng = np.random.default_rng(0)
            heard = [recogniser_style(text, rng) or text for text in plain]
            inputs |= dict(zip(("heard", "heard_mask"), _pieces(self.tokenizer, heard), strict=True))
        sources = sorted({text.source for text in texts})
        return Samples(
            inputs,
            torch.tensor([_emotion(text, self.labels) for text in texts]),
            torch.tensor([sentiment_of(text) for text in texts]),
            {f"source={name}": torch.tensor([int(text.source == name) for text in texts]) for name in sources},
            [f"{split}-{i}" for i in range(len(texts))],
            torch.tensor([0.0, 0.0, 1.0]).expand(len(texts), 3).contiguous(),
            labels={"among": torch.tensor([_among(text, self.labels) for text in texts])},
        )

    def _loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross entropy among the classes that the labels chose from, and that of the sentiment."""
        assert output.logits is not None
        assert output.score is not None
        assert batch.target is not None
        assert batch.score is not None
        logits = output.logits.masked_fill(~batch.labels["among"], -1e4)
        return classification(logits, batch.target) + sentiment_entropy(output.score.unsqueeze(-1), batch.score)


class FolderText(TextEncoderTask):
    """The text student on one's own clips (training/data/clips.py): what is said in them."""

    name = "folder_text"
    metric = "accuracy"

    def __init__(self, data: Path, cache: Path = Path("cache"), tokenizer: Path = TOKENIZER) -> None:
        """Take the folder with `clips.csv`, the folder for weights and outputs, and the repository's tokenizer."""
        super().__init__(data, cache, tokenizer)
        self.corpus = Folder(data, cache, tokenizer)
        self.labels = require_emotions(self.name, self.corpus.labels)

    @cached_property
    def texts(self) -> dict[Split, list[LabelledText]]:
        """The rows that have a text."""
        return {
            split: [
                LabelledText(row.text, "own", emotion=one_hot(row.label, EMOTIONS, self.labels), score=row.score)
                for row in self.corpus.rows[split]
                if row.text and row.label is not None
            ]
            for split in SPLITS
        }


def sentiment_of(text: LabelledText) -> float:
    """Return the rating, else the sentiment of the polarity, else the emotion's valence; NaN where there is nothing."""
    if text.score is not None:
        return text.score
    if text.polarity is not None:
        positive, negative = (text.polarity.probabilities[POLARITIES.index(p)] for p in ("positive", "negative"))
        return POLARITY_SENTIMENT * (positive - negative)
    if text.emotion is not None:
        return float(np.dot(text.emotion.probabilities, [VALENCE[name] for name in EMOTIONS]))
    return float("nan")


def _emotion(text: LabelledText, labels: Sequence[str]) -> int:
    return -1 if text.emotion is None else labels.index(EMOTIONS[int(np.argmax(text.emotion.probabilities))])


def _among(text: LabelledText, labels: Sequence[str]) -> list[bool]:
    return [text.emotion is None or text.emotion.among[EMOTIONS.index(label)] for label in labels]


def _pieces(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    ids, mask = encode_texts(tokenizer, texts)
    return ids.int(), mask.to(torch.uint8)


def by_source(output: Output, samples: Samples) -> dict[str, float]:
    """Return SST-2's accuracy by the sign of the sentiment, and accuracy and macro F1 of talk and tweets.

    `sst2_and_talk` is the mean of SST-2's accuracy and talk's macro F1, whichever there are.
    """
    assert output.logits is not None
    assert output.score is not None
    assert samples.target is not None
    assert samples.score is not None
    found: dict[str, float] = {}
    films = samples.groups.get("source=films", torch.zeros(0)) == 1
    if bool(films.any()):
        found["sst2"] = 100 * float(((output.score > 0) == (samples.score > 0))[films].float().mean())
    for name in ("talk", "tweets"):
        here = (samples.groups.get(f"source={name}", torch.zeros(len(samples))) == 1) & (samples.target >= 0)
        if bool(here.any()):
            among = samples.labels["among"][here]
            scores = classification_scores(output.logits[here].masked_fill(~among, -1e4), samples.target[here])
            found |= {f"{name}_accuracy": scores.accuracy, f"{name}_macro_f1": scores.macro_f1}
    chosen = [found[name] for name in ("sst2", "talk_macro_f1") if name in found]
    return found | ({"sst2_and_talk": sum(chosen) / len(chosen)} if chosen else {})


def stored_outputs(path: Path, texts: Sequence[str]) -> Output:
    """Read what a teacher said about texts: a file with `texts`, `emotion` [N, 7], `score` [N] and `pooled` [N, D].

    Raises:
        TeacherError: no such file, or it lacks some of `texts`.
    """
    if not path.is_file():
        raise TeacherError(f"no teacher's outputs at {path}")
    stored: dict[str, Any] = torch.load(path, weights_only=True)
    row = {text: i for i, text in enumerate(stored["texts"])}
    unknown = [text for text in texts if text not in row]
    if unknown:
        raise TeacherError(f"{path} lacks {len(unknown)} of {len(texts)} texts: let the teacher answer them as well")
    index = torch.tensor([row[text] for text in texts])
    return Output(
        stored["emotion"][index].float(),
        stored["score"][index].float(),
        features={"penultimate": stored["pooled"][index].float()},
    )
