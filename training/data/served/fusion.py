"""Fusion's task: windows composed of what the exported encoders make of voices, faces and sentences.

The encoders are read from a model repository, the newest version of each, whatever made them, and run once; see
training/data/composed.py for what a composed window is. Students learn every subset of modalities where a recipe has a
`modality_dropout`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from contract.labels import EMOTIONS, MODALITIES
from contract.models import EMBEDDING_DIM
from contract.timing import AUDIO_SLOTS, AUDIO_SLOTS_PER_HOP, HOP_SAMPLES, HOPS_PER_WINDOW
from training.data import fer2013, meld, ravdess, sst_mr, tweeteval, vader
from training.data.calibration import classification_scores, fit_temperature
from training.data.composed import PLAIN, Bank, Composed, FaceBank, Mixing, Windows, wrong_share
from training.data.corpora import text_targets
from training.data.exported import model_file
from training.data.hops import chunks_of
from training.data.sentences import Sentence, bare
from training.data.served.audio_encoder import Pcm, quiet_chunks, roomy
from training.data.served.base import ServedTask, valence_of
from training.data.task import Hooks, Samples, Split, TeacherBank
from training.data.tokenizer import encode_texts, load_tokenizer
from training.distillation.losses import classification, regression
from training.distillation.outputs import Batch, Output
from training.models.answer import masked_mean, with_score
from training.models.served.students import FusionStudent, ServedStudent
from training.names import check_name
from training.teachers.cache import SPLITS, OutputCache, file_sha256, recipe_hash
from training.teachers.linear import linear_outputs
from training.teachers.random_teacher import random_outputs

REPOSITORY: Final = Path(__file__).resolve().parents[3] / "model_repository"
WINDOWS: Final[dict[Split, int]] = {"train": 12_000, "valid": 2_000, "test": 2_000}
SMOOTHING: Final = 0.05
QUIET_SHARE: Final = 0.08
RATED_SHARE: Final = 0.2
ENCODERS: Final = tuple(f"{modality}_encoder" for modality in MODALITIES)
_SPEEDS: Final = (0.9, 1.0, 1.1)
_WINDOWS_PER_CLIP: Final = 4
_QUIET_WINDOWS: Final = 256
_BATCH: Final = 64
_VERSION: Final = 1


class FusionTask(ServedTask):
    """See the module. Inputs: `audio` [B, 40, D], `video` [B, 20, D], `text` [B, 64, D], masks, `present` [B, 3]."""

    name = "fusion"
    teacher_names: tuple[str, ...] = ("probes", "random")

    def __init__(self, data: Path, cache: Path = Path("cache"), windows: dict[Split, int] | None = None) -> None:
        """Take the data folder, the folder for cached things, and how many windows are composed."""
        self.data, self.cache, self.windows = data, cache, windows or WINDOWS
        self.repository = REPOSITORY
        """Of the encoders; may be changed before samples are asked for."""
        self.hooks = Hooks(fused_loss, measures=polarity_accuracy, calibrate=fit_temperatures)
        self._samples: dict[Split, Samples] = {}

    @property
    def encoder_hashes(self) -> dict[str, str]:
        """SHA-256 of the encoders' files."""
        return {name: file_sha256(model_file(self.repository, name)) for name in ENCODERS}

    def fingerprint(self) -> str:
        """Return the hash of the encoders and of how windows are composed."""
        return recipe_hash({"encoders": self.encoder_hashes, "windows": self.windows, "version": _VERSION})

    def samples(self, split: Split) -> Samples:
        """Return composed windows; the first call runs the encoders over the corpora (minutes), then a file is read."""
        if split not in self._samples:
            path = self.cache / "prepared" / f"fusion-{self.fingerprint()}.pt"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                beside = path.with_suffix(".part")
                torch.save(self._compose(), beside)
                beside.replace(path)
            stored: dict[str, Any] = torch.load(path, weights_only=True, mmap=True)
            self._samples = {name: _labelled(stored[name], name) for name in self.windows}
        return self._samples[split]

    def teacher(self, name: str) -> TeacherBank:
        """Return `probes`, linear models of each modality's mean embedding and the mean of what they say, or noise."""
        check_name("teacher", name, self.teacher_names)
        if name == "random":
            return TeacherBank(name, self._random)
        store = OutputCache(self.cache / "teacher_outputs" / self.name)
        key = {"samples": self.fingerprint(), "head": "linear"}
        return TeacherBank(name, lambda split: store.get(name, key, split, lambda: probed(self.samples)))

    def _random(self, split: Split) -> Output:
        noise = random_outputs(split, len(self.samples(split)), len(EMOTIONS), None)
        return with_score(noise, valence_of(EMOTIONS))

    def _student(self, name: str) -> ServedStudent:
        return FusionStudent()

    def _compose(self) -> dict[Split, dict[str, Tensor]]:
        """Return the tensors of every split's windows. Training windows are made as hard as validation's."""
        rng, encoders = np.random.default_rng(0), Encoders(self.repository)
        parts = {split: self._banks(encoders, split, rng) for split in self.windows}
        audio, video, text = reliability(parts["train"].draw(2000, rng), parts["valid"].draw(1000, rng))
        mixing = {"train": Mixing((audio, video, text), QUIET_SHARE, RATED_SHARE)}
        return {
            split: _packed(parts[split].draw(size, rng, mixing.get(split, PLAIN)))
            for split, size in self.windows.items()
        }

    def _banks(self, encoders: "Encoders", split: Split, rng: np.random.Generator) -> Composed:
        """Return the banks of one split. Only `train` is varied and has rated sentences and quiet audio."""
        train = split == "train"
        sentences: list[Sentence] = meld.load(self.data, split)
        if split != "test":
            sentences = sentences + tweeteval.load(self.data, split)
        rated = sst_mr.load_sst5(self.data, "train") + vader.load(self.data, "train") if train else []
        faces = fer2013.load(self.data, split)
        rgb = fer2013.to_rgb(fer2013.enlarge(faces.images))
        return Composed(
            _audio_bank(encoders, ravdess.load(self.data, split), rng, varied=train),
            FaceBank(encoders.embed("video", FACE=rgb).half(), faces.labels),
            encoders.texts(sentences, spoken=train),
            encoders.texts(rated, spoken=True) if rated else None,
            _quiet(encoders, rng) if train else None,
        )


class Encoders:
    """The exported encoders of a repository, and its tokenizer."""

    def __init__(self, repository: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.sessions = {
            name: ort.InferenceSession(
                str(model_file(repository, f"{name}_encoder")), options, ["CPUExecutionProvider"]
            )
            for name in MODALITIES
        }
        self.tokenizer = load_tokenizer(model_file(repository, "tokenizer", "tokenizer.json"))

    def say(self, modality: str, **inputs: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Return all outputs of an encoder for any number of items."""
        names = [output.name for output in self.sessions[modality].get_outputs()]
        count = len(next(iter(inputs.values())))
        parts = [
            self.sessions[modality].run(names, {name: array[i : i + _BATCH] for name, array in inputs.items()})
            for i in range(0, count, _BATCH)
        ]
        return {name: np.concatenate([part[k] for part in parts]) for k, name in enumerate(names)}

    def embed(self, modality: str, **inputs: NDArray[Any]) -> Tensor:
        """Return the embeddings."""
        return torch.from_numpy(self.say(modality, **inputs)["EMBEDDING"])

    def texts(self, sentences: Sequence[Sentence], spoken: bool) -> Bank:
        """Return the bank of sentences; when `spoken`, every other one comes without punctuation."""
        texts = [bare(s.text) or s.text if spoken and i % 2 else s.text for i, s in enumerate(sentences)]
        ids, mask = encode_texts(self.tokenizer, texts)
        targets = text_targets(sentences)
        tokens = self.embed("text", INPUT_IDS=ids.numpy(), ATTENTION_MASK=mask.numpy()).half()
        return Bank(tokens, mask.float(), targets.emotion.numpy(), targets.sentiment.numpy())


def _audio_bank(encoders: Encoders, clips: Sequence[ravdess.Clip], rng: np.random.Generator, varied: bool) -> Bank:
    tokens, masks, labels = [], [], []
    for clip in clips:
        pcm = ravdess.read_pcm(clip.path)
        for changed in ravdess.at_speeds(pcm, tuple(rng.choice(_SPEEDS, 2, replace=False))) if varied else [pcm]:
            hops = encoders.embed("audio", PCM=_hops_of(changed, rng, varied))
            for end in rng.integers(min(3, len(hops)), len(hops) + 1, _WINDOWS_PER_CLIP):
                item, mask = _right_aligned(hops[max(0, end - HOPS_PER_WINDOW) : end].flatten(0, 1))
                tokens.append(item.half())
                masks.append(mask)
                labels.append(EMOTIONS.index(clip.emotion))
    emotion = np.array(labels)
    return Bank(torch.stack(tokens), torch.stack(masks), emotion, np.zeros(len(emotion), dtype=np.float32))


def _hops_of(pcm: Pcm, rng: np.random.Generator, varied: bool) -> Pcm:
    chunks = chunks_of(pcm, int(rng.integers(0, HOP_SAMPLES)))
    if not varied:
        return chunks
    voiced = torch.zeros(len(chunks), dtype=torch.bool)
    return np.asarray(roomy(torch.from_numpy(chunks), voiced, rng).numpy(), dtype=np.float32)


def _right_aligned(slots: Tensor) -> tuple[Tensor, Tensor]:
    item, mask = torch.zeros(AUDIO_SLOTS, EMBEDDING_DIM), torch.zeros(AUDIO_SLOTS)
    item[AUDIO_SLOTS - len(slots) :] = slots
    mask[AUDIO_SLOTS - len(slots) :] = 1
    return item, mask


def _quiet(encoders: Encoders, rng: np.random.Generator) -> Tensor:
    """Return audio windows without a voice, [N, 40, D]."""
    embedding = encoders.embed("audio", PCM=quiet_chunks(_QUIET_WINDOWS, rng))
    return embedding.repeat(1, AUDIO_SLOTS // AUDIO_SLOTS_PER_HOP, 1).half()


def pooled(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the mean embedding [N, D] of each window, 0 where it has none; in parts, as tokens are half precision."""
    parts = zip(torch.split(tokens, 1024), torch.split(mask.float(), 1024), strict=True)
    return torch.cat([masked_mean(t.float(), m) for t, m in parts])


def reliability(train: Windows, valid: Windows) -> list[float]:
    """Return, per modality, the share of wrong windows that makes training as hard as validation (`wrong_share`).

    By a linear model of the mean embedding: the encoder has seen the people of `train`.
    """
    shares = []
    for i in range(len(MODALITIES)):
        seen, unseen = (pooled(part.embeddings[i], part.masks[i]).numpy() for part in (train, valid))
        probe = LogisticRegression(C=0.1, max_iter=200).fit(seen, train.emotion.numpy())
        known = valid.emotion.numpy()
        shares.append(wrong_share(probe.score(seen, train.emotion.numpy()), probe.score(unseen, known)))
    return shares


def probed(samples: Callable[[Split], Samples]) -> dict[Split, Output]:
    """Return what linear models say of windows, out of fold: `<modality>.logits`, and their mean as `logits`."""
    parts = {split: samples(split) for split in SPLITS}
    said = []
    for modality in MODALITIES:
        vectors = {s: pooled(p.inputs[modality], p.inputs[f"{modality}_mask"]) for s, p in parts.items()}
        train = parts["train"]
        assert train.target is not None
        assert train.score is not None
        said.append(linear_outputs(vectors, train.target, train.score, len(EMOTIONS)))
    return {split: _together([part[split] for part in said], parts[split].present) for split in SPLITS}


def _together(said: Sequence[Output], present: Tensor) -> Output:
    share = (present / present.sum(dim=1, keepdim=True).clamp_min(1)).T
    logits = [part.logits for part in said if part.logits is not None]
    scores = [part.score for part in said if part.score is not None]
    features: dict[str, Tensor] = {}
    for modality, part, own in zip(MODALITIES, said, logits, strict=True):
        features |= {modality: part.features["penultimate"], f"{modality}.logits": own}
    features["penultimate"] = torch.cat([part.features["penultimate"] for part in said], dim=1)
    return Output(
        torch.einsum("mn,mnc->nc", share, torch.stack(logits)),
        torch.einsum("mn,mn->n", share, torch.stack(scores)),
        features=features,
        present=present,
    )


def _packed(windows: Windows) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = {}
    for modality, x, mask in zip(MODALITIES, windows.embeddings, windows.masks, strict=True):
        inputs |= {modality: x.half(), f"{modality}_mask": mask.to(torch.uint8)}
    return inputs | {"emotion": windows.emotion, "sentiment": windows.sentiment, "polarity": windows.polarity}


def _labelled(stored: dict[str, Tensor], split: Split) -> Samples:
    inputs = {name: stored[name] for modality in MODALITIES for name in (modality, f"{modality}_mask")}
    present = torch.stack([inputs[f"{modality}_mask"].amax(dim=1) for modality in MODALITIES], dim=1).float()
    return Samples(
        inputs | {"present": present},
        stored["emotion"],
        stored["sentiment"].float(),
        ids=[f"{split}-{i}" for i in range(len(present))],
        present=present,
        labels={"polarity": stored["polarity"]},
    )


def fused_loss(output: Output, batch: Batch) -> Tensor:
    """Cross entropy of emotion and polarity with smoothed labels, and the squared error of the sentiment."""
    assert output.logits is not None
    assert output.score is not None
    assert batch.target is not None
    assert batch.score is not None
    terms = classification(output.logits, batch.target, SMOOTHING)
    terms = terms + classification(output.heads["polarity"], batch.labels["polarity"], SMOOTHING)
    return terms + regression(output.score.unsqueeze(-1), batch.score)


def polarity_accuracy(output: Output, samples: Samples) -> dict[str, float]:
    """Return accuracy and calibration error of the polarity."""
    scores = classification_scores(output.heads["polarity"], samples.labels["polarity"])
    return {"polarity_accuracy": scores.accuracy, "polarity_ece": scores.ece}


def fit_temperatures(student: nn.Module, output: Output, samples: Samples) -> None:
    """Put the temperatures of polarity and emotion into fusion."""
    assert isinstance(student, FusionStudent)
    assert output.logits is not None
    assert samples.target is not None
    student.model.temperature[0] = fit_temperature(output.heads["polarity"], samples.labels["polarity"])
    student.model.temperature[1] = fit_temperature(output.logits, samples.target)
