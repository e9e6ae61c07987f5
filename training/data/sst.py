"""The Stanford Sentiment Treebank, whole sentences: `sst2` says negative or positive, `sst5` one of five degrees.

The five degrees are ordinal: their sentiments are -1, -0.5, 0, 0.5 and 1, and a sentence's score is its degree's.
Only SST's own training sentences train students and teachers here: no MR, which holds SST's test sentences.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModel

from contract.text import frame_pieces
from training.data import augment, sst_mr
from training.data.folder import Split
from training.data.task import Inputs, Samples, TeacherBank
from training.data.tokenizer import load_tokenizer, teacher_embeddings
from training.distillation.outputs import Output
from training.models.answer import with_score
from training.models.served.text import VOCABULARY
from training.models.students.aclsa import AclSa, inverse_document_frequency
from training.models.students.text import LstmStudent, TransformerStudent
from training.names import check_name
from training.teachers.cache import SPLITS, OutputCache, file_sha256, recipe_hash
from training.teachers.fetch import PACKAGES, teacher_folder
from training.teachers.media import MediaTask
from training.teachers.net_recipes import NetRecipe
from training.teachers.sources import HUGGING_FACE
from training.teachers.text_encoder import Sentences, TuningRecipe, encoder_key, minilm_key, tune_out_of_fold
from training.teachers.trained import out_of_fold_nets

PIECES: Final = 48
"""Of a sentence; of the 5 % that are longer the last ones."""
TOKENIZER: Final = Path(__file__).resolve().parents[2] / "model_repository/tokenizer/1/tokenizer.json"
TUNING: Final = TuningRecipe()
ACLSA: Final = NetRecipe(epochs=4, learning_rate=1.5e-3, batch=32, smoothing=0.05)
FOLDS: Final = 3


class Sst2(MediaTask):
    """Two classes; see the module."""

    name: str = "sst2"
    labels: tuple[str, ...] = ("negative", "positive")
    values: tuple[float, ...] = (-1.0, 1.0)
    metric: str = "accuracy"
    media_names = ("text",)
    own_teachers = ("minilm", "aclsa")
    slots = PIECES
    student_names: tuple[str, ...] = ("default", "warm", "transformer", "aclsa")

    def __init__(self, data: Path, cache: Path = Path("cache"), tokenizer: Path = TOKENIZER) -> None:
        """Take the data folder, the folder for weights and teachers' outputs, and the students' tokenizer."""
        self.data, self.cache, self.tokenizer_file = data, cache, tokenizer
        self._samples: dict[Split, Samples] = {}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The students' word pieces."""
        return load_tokenizer(self.tokenizer_file)

    @cached_property
    def sentences(self) -> dict[Split, list[tuple[str, int]]]:
        """Text and class of every sentence."""
        return {split: self._load(split) for split in SPLITS}

    def fingerprint(self) -> str:
        """Return the hash of the sentences as they are read, their classes, and the tokenizer."""
        tokenizer = file_sha256(self.tokenizer_file)
        return recipe_hash({"sentences": self.sentences, "tokenizer": tokenizer, "pieces": PIECES})

    def samples(self, split: Split) -> Samples:
        """Return `ids` int32 [N, 48] and `ids_mask` uint8 [N, 48]."""
        if split not in self._samples:
            texts, target = zip(*self.sentences[split], strict=True)
            ids, mask = framed([pieces for pieces, _ in self._pieces(list(texts))])
            present = torch.zeros(len(texts), 3)
            present[:, 2] = 1.0
            self._samples[split] = Samples(
                inputs={"ids": ids, "ids_mask": mask},
                target=torch.tensor(target),
                score=torch.tensor(self.values)[torch.tensor(target)],
                ids=[f"{split}-{i}" for i in range(len(texts))],
                present=present,
            )
        return self._samples[split]

    def augment(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Make a tenth of the pieces unknown."""
        return inputs | {"ids": augment.dropped_words(inputs["ids"], inputs["ids_mask"], generator)}

    def student(self, name: str = "default") -> nn.Module:
        """Return a bidirectional LSTM, the same with MiniLM's word pieces, a transformer of two layers, or ACL-SA."""
        check_name("student", name, self.student_names)
        students: dict[str, Callable[[], nn.Module]] = {
            "default": lambda: LstmStudent(self.values),
            "warm": lambda: LstmStudent(self.values, pieces=self._pretrained),
            "transformer": lambda: TransformerStudent(PIECES, self.values),
            "aclsa": lambda: AclSa(self._idf, self.values),
        }
        return students[name]()

    def own_teacher(self, name: str) -> TeacherBank | None:
        """Return a tuned encoder (`hf:NAME_OR_FOLDER` for any), or ACL-SA."""
        if name.startswith(HUGGING_FACE):
            return self._tuned(name, lambda: name.removeprefix(HUGGING_FACE), encoder_key)
        if name == "minilm":
            weights = self.cache / "teachers"
            return self._tuned(name, lambda: str(teacher_folder("minilm", weights)), lambda _: minilm_key())
        return self._aclsa() if name == "aclsa" else None

    def media(self, modality: str, split: Split) -> list[str]:
        """See MediaTask."""
        return [text for text, _ in self.sentences[split]]

    @cached_property
    def fold(self) -> Tensor:
        """Fold of every training sentence, drawn at random: no two share a speaker or a dialogue."""
        count = len(self.sentences["train"])
        return torch.randperm(count, generator=torch.Generator().manual_seed(0)) % FOLDS

    @property
    def _store(self) -> Path:
        return self.cache / "teacher_outputs" / self.name

    @cached_property
    def _idf(self) -> Tensor:
        inputs = self.samples("train").inputs
        return inverse_document_frequency(inputs["ids"], inputs["ids_mask"], VOCABULARY)

    @cached_property
    def _pretrained(self) -> Tensor:
        """The students' word pieces in the words of MiniLM, [V, 128]."""
        folder = teacher_folder("minilm", self.cache / "teachers")
        table = AutoModel.from_pretrained(folder).get_input_embeddings().weight.detach()
        return teacher_embeddings(self.tokenizer, Tokenizer.from_file(str(folder / "tokenizer.json")), table)

    def _load(self, split: Split) -> list[tuple[str, int]]:
        return [(s.text, int(s.polarity == "positive")) for s in sst_mr.load_sst2(self.data, split)]

    def _pieces(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Return ids and letters of the last pieces of every text, special tokens not included."""
        encodings = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return [(e.ids[2 - PIECES :], e.offsets[2 - PIECES :]) for e in encodings]

    def _tuned(self, name: str, find: Callable[[], str], key: Callable[[str], dict[str, object]]) -> TeacherBank:
        def outputs(split: Split) -> Output:
            encoder = find()
            recipe = {**key(encoder), "tuning": TUNING.key(), "samples": self.fingerprint()}
            return OutputCache(self._store).get(name, recipe, split, lambda: self._tune(encoder))

        return TeacherBank(name, outputs)

    def _tune(self, encoder: str) -> dict[Split, Output]:
        parts: dict[Split, Sentences] = {}
        for split in SPLITS:
            texts, target = zip(*self.sentences[split], strict=True)
            spans = [[(0, 0), *letters, (0, 0)] for _, letters in self._pieces(list(texts))]
            parts[split] = Sentences(texts, spans, PIECES, torch.tensor(target))
        return self._scored(tune_out_of_fold(encoder, parts, self.fold, len(self.labels), TUNING))

    def _aclsa(self) -> TeacherBank:
        key = {"net": "aclsa", "embeddings": PACKAGES["minilm"].sha256, "recipe": ACLSA.key(), "folds": FOLDS}

        def make() -> nn.Module:
            net = AclSa(self._idf, self.values)
            net.pieces.weight.data = self._pretrained.clone()
            return net

        def compute() -> dict[Split, Output]:
            samples = {split: self.samples(split) for split in SPLITS}
            return self._scored(out_of_fold_nets(make, samples, self.fold, self.augment, ACLSA))

        store = OutputCache(self._store)
        return TeacherBank(
            "aclsa", lambda split: store.get("aclsa", {**key, "samples": self.fingerprint()}, split, compute)
        )

    def _scored(self, outputs: dict[Split, Output]) -> dict[Split, Output]:
        return {split: with_score(output, torch.tensor(self.values)) for split, output in outputs.items()}


def framed(pieces: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids int32 [N, 48] and mask uint8 [N, 48] of the last 46 pieces of every text, between special tokens."""
    pairs = [frame_pieces(own[2 - PIECES :]) for own in pieces]
    ids, mask = (torch.stack([torch.from_numpy(pair[i][:PIECES]) for pair in pairs]) for i in (0, 1))
    return ids.int(), mask.to(torch.uint8)


class Sst5(Sst2):
    """Five degrees; see the module."""

    name: str = "sst5"
    labels: tuple[str, ...] = ("very negative", "negative", "neutral", "positive", "very positive")
    values: tuple[float, ...] = (-1.0, -0.5, 0.0, 0.5, 1.0)

    def _load(self, split: Split) -> list[tuple[str, int]]:
        sentences = sst_mr.load_sst5(self.data, split)
        return [(s.text, self.values.index(s.sentiment)) for s in sentences if s.sentiment is not None]
