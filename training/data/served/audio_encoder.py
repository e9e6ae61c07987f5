"""The audio student's task: stretches of recordings at random places, so that every hop of a stream makes sense.

A training sample is a recording, cut to the voice; a step sees 1.5 s of it, whose newest hop lies anywhere. Speed (each
a sample of its own, with its own teachers' outputs), gain, noise and stripes of the spectrum stand in for other voices,
levels and rooms. A share of the samples holds no voice at all and is called neutral. Validation and test have every
hop of a recording, as a session cuts them; the student is chosen by whole clips.
"""

import hashlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.timing import (
    AUDIO_SLOT_SAMPLES,
    AUDIO_SLOTS_PER_HOP,
    CHUNK_SAMPLES,
    CONTEXT_SAMPLES,
)
from training.data.clip_folder import Folder
from training.data.hops import chunks_of
from training.data.ravdess import Ravdess
from training.data.served.base import ServedTask, fit_emotion_temperature, require_emotions, valence_of
from training.data.task import RECORDING, Hooks, Samples, Split, TeacherBank
from training.distillation.example import Example
from training.distillation.losses import classification, regression
from training.distillation.outputs import Batch, Output
from training.models.served.students import AudioStudent, ServedStudent

SMOOTHING: Final = 0.1
SENTIMENT_WEIGHT: Final = 0.5
OLDER_WEIGHT: Final = 0.5
"""Of the two hops of context in a chunk."""
QUIET_SHARE: Final = 0.08
"""Training samples without a voice, labelled neutral, for each recording."""
QUIET_SURENESS: Final = 0.9
"""What every teacher is taken to say of them: neutral with this probability."""
_CHUNK_SLOTS: Final = CHUNK_SAMPLES // AUDIO_SLOT_SAMPLES
_CONTEXT_SLOTS: Final = CONTEXT_SAMPLES // AUDIO_SLOT_SAMPLES
_GAIN_DB: Final = 12.0
_SNR_DB: Final = (12.0, 45.0)
_ROOM_DB: Final = (-100.0, -34.0)
_LOWEST_BIN: Final = 30
"""20 Hz: below it noise gets no louder."""

Pcm = NDArray[np.float32]


class Recordings(Protocol):
    """A corpus of recordings with labels and teachers: RAVDESS, or one's own folder."""

    labels: tuple[str, ...]

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """See Task."""
        ...

    def fingerprint(self) -> str:
        """Return the hash of all that `samples` depends on."""
        ...

    def samples(self, split: Split) -> Samples:
        """Return labels and who speaks; `present` says which have a sound."""
        ...

    def recordings(self, split: Split) -> list[Pcm]:
        """Return PCM at 16 kHz, cut to the voice, in the order of `samples`."""
        ...

    def teacher(self, name: str) -> TeacherBank:
        """Return a teacher of these samples."""
        ...


class AudioEncoderTask(ServedTask):
    """See the module. Inputs: `pcm` [B, 24000]; of training samples int16 [N, L] and `slots` [N], 0 without a voice."""

    name = "audio_encoder"
    metric = "clip_accuracy"

    def __init__(self, data: Path, cache: Path = Path("cache")) -> None:
        """Take the data folder and the folder for weights and teachers' outputs."""
        self.corpus: Recordings = self._corpus(data, cache)
        self.labels = require_emotions(self.name, self.corpus.labels)
        self.teacher_names = self.corpus.teacher_names
        self.hooks = Hooks(self._loss, prepared, clip_accuracy, fit_emotion_temperature)
        self._samples: dict[Split, Samples] = {}

    def _corpus(self, data: Path, cache: Path) -> Recordings:
        return Ravdess(data, cache)

    def fingerprint(self) -> str:
        """Return the hash of the corpus and of what is done with it here."""
        return hashlib.sha256(f"{self.corpus.fingerprint()} {QUIET_SHARE} 1".encode()).hexdigest()

    def samples(self, split: Split) -> Samples:
        """Return recordings to train on, or hops to measure by, whose group `RECORDING` is the clip."""
        if split not in self._samples:
            self._samples[split] = self._training() if split == "train" else self._hops(split)
        return self._samples[split]

    def _student(self, name: str) -> ServedStudent:
        return AudioStudent(self.labels)

    def teacher(self, name: str) -> TeacherBank:
        """Return what one of the corpus's teachers says; of hops, what it says of their clip."""
        bank = self.corpus.teacher(name)

        def outputs(split: Split) -> Output:
            output = bank.outputs(split).at(self._heard(split))
            if split == "train":
                return with_quiet(output, self._quiet_count, self._neutral)
            return output.at(self.samples(split).groups[RECORDING])

        return TeacherBank(name, outputs, bank.seen)

    @cached_property
    def _neutral(self) -> int | None:
        return self.labels.index("neutral") if "neutral" in self.labels else None

    @property
    def _quiet_count(self) -> int:
        """None where the labels know no neutral."""
        return 0 if self._neutral is None else round(QUIET_SHARE * len(self._heard("train")))

    def _heard(self, split: Split) -> Tensor:
        """Places of the samples that have a sound."""
        return self.corpus.samples(split).present[:, 0].nonzero().squeeze(1)

    def _training(self) -> Samples:
        heard = self._heard("train")
        samples, pcm = self.corpus.samples("train").take(heard), self.corpus.recordings("train")
        parts = [to_slots(pcm[i]) for i in heard.tolist()]
        slots = torch.tensor([len(part) // AUDIO_SLOT_SAMPLES for part in parts])
        padded = nn.utils.rnn.pad_sequence([torch.from_numpy(part) for part in parts], batch_first=True)
        recorded = replace(samples, inputs={"pcm": padded, "slots": slots})
        return with_silence(recorded, self._quiet_count, self._neutral)

    def _hops(self, split: Split) -> Samples:
        heard = self._heard(split)
        pcm = self.corpus.recordings(split)
        chunks = [chunks_of(pcm[i]) for i in heard.tolist()]
        clip = torch.repeat_interleave(torch.arange(len(heard)), torch.tensor([len(part) for part in chunks]))
        samples = self.corpus.samples(split).take(heard[clip])
        return replace(
            samples,
            inputs={"pcm": torch.from_numpy(np.concatenate(chunks)).half()},
            groups=samples.groups | {RECORDING: clip},
            ids=[f"{name}#{i}" for i, name in enumerate(samples.ids)],
        )

    def _loss(self, output: Output, batch: Batch) -> Tensor:
        """Every hop of a chunk learns the clip's label, older ones with less weight."""
        assert batch.target is not None
        logits, sentiment = output.heads["hops"], output.heads["hop_sentiment"]
        count = logits.shape[1]
        target = batch.target.repeat_interleave(count)
        score = valence_of(self.labels).to(logits.device)[target] if batch.score is None else None
        score = batch.score.repeat_interleave(count) if score is None and batch.score is not None else score
        assert score is not None
        terms = classification(logits.flatten(0, 1), target, SMOOTHING)
        terms = terms + SENTIMENT_WEIGHT * regression(sentiment.reshape(-1, 1), score)
        weights = batch.labels["hop_weights"]
        return (terms.view(-1, count) * weights).sum(dim=1) / weights.sum(dim=1)


class FolderAudio(AudioEncoderTask):
    """The audio student on one's own clips (training/data/clips.py)."""

    name = "folder_audio"

    def _corpus(self, data: Path, cache: Path) -> Recordings:
        return Folder(data, cache)


def to_slots(pcm: Pcm) -> NDArray[np.int16]:
    """Return a recording in whole slots of 100 ms, at least one, as 16-bit integers."""
    slots = max(1, -(-len(pcm) // AUDIO_SLOT_SAMPLES))
    padded = np.pad(pcm, (0, slots * AUDIO_SLOT_SAMPLES - len(pcm)))
    return np.asarray(np.clip(padded * 32767, -32768, 32767), dtype=np.int16)


def with_silence(samples: Samples, count: int, neutral: int | None) -> Samples:
    """Add `count` samples without a voice (`slots` 0), whose noise every step draws anew."""
    if count == 0 or neutral is None:
        return samples
    assert samples.target is not None
    assert samples.score is not None

    def grown(tensor: Tensor, value: float) -> Tensor:
        return torch.cat([tensor, torch.full((count, *tensor.shape[1:]), value, dtype=tensor.dtype)])

    present = torch.cat([samples.present, torch.tensor([[1.0, 0.0, 0.0]]).expand(count, 3)])
    return Samples(
        {name: grown(tensor, 0) for name, tensor in samples.inputs.items()},
        grown(samples.target, neutral),
        grown(samples.score, 0.0),
        {name: grown(group, -1) for name, group in samples.groups.items()},
        [*samples.ids, *(f"quiet-{i}" for i in range(count))],
        present,
    )


def with_quiet(output: Output, count: int, neutral: int | None) -> Output:
    """Add what a teacher is taken to say of `count` samples without a voice: surely neutral, features of 0."""
    if count == 0 or neutral is None:
        return output

    def grown(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else torch.cat([tensor, tensor.new_zeros(count, *tensor.shape[1:])])

    logits = grown(output.logits)
    if logits is not None:
        others = (1 - QUIET_SURENESS) / (logits.shape[1] - 1)
        logits[-count:, neutral] = float(np.log(QUIET_SURENESS / others))
    variance = grown(output.variance)
    features = {name: torch.cat([f, f.new_zeros(count, *f.shape[1:])]) for name, f in output.features.items()}
    masks = {name: torch.cat([m, m.new_zeros(count, *m.shape[1:])]) for name, m in output.masks.items()}
    return Output(logits, grown(output.score), variance, features, masks)


def prepared(example: Example, generator: torch.Generator) -> Example:
    """Cut 1.5 s out of every recording, and the same stretch out of the teachers' sequences at 10 Hz; add noise."""
    pcm, slots = example.inputs["pcm"], example.inputs["slots"]
    batch = len(pcm)
    first = -2 + (torch.rand(batch, generator=generator) * slots.clamp(min=1)).long()  # slot of the newest hop's start
    places = (first - _CONTEXT_SLOTS)[:, None] + torch.arange(_CHUNK_SLOTS)
    inside = (places >= 0) & (places < slots[:, None])
    by_slot = pcm.view(batch, -1, AUDIO_SLOT_SAMPLES)
    chunk = by_slot[torch.arange(batch)[:, None], places.clamp(0, by_slot.shape[1] - 1)].float() / 32767
    chunk = (chunk * inside.unsqueeze(-1)).flatten(1)
    noisy = roomy(chunk, slots == 0, np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator))))
    teachers = {name: _stretch(output, places, inside) for name, output in example.teachers.items()}
    heard = inside.view(batch, -1, AUDIO_SLOTS_PER_HOP).any(dim=2) | (slots == 0)[:, None]
    weights = heard.float() * OLDER_WEIGHT
    weights[:, -1] = 1
    labels = example.batch.labels | {"hop_weights": weights.to(example.batch.index.device)}  # type: ignore[union-attr]
    return replace(example, inputs={"pcm": noisy}, batch=replace(example.batch, labels=labels), teachers=teachers)


def _stretch(output: Output, places: Tensor, inside: Tensor) -> Output:
    """Return the output with its sequences at the slots `places` [B, 15]; 0 and masked where they are not `inside`."""
    features, masks = dict(output.features), dict(output.masks)
    for name, feature in output.features.items():
        if feature.ndim == 3:
            rows, at = torch.arange(len(feature))[:, None], places.clamp(0, feature.shape[1] - 1).to(feature.device)
            there = (inside & (places < feature.shape[1])).to(feature.device)
            features[name] = feature[rows, at] * there.unsqueeze(-1)
            known = output.masks.get(name)
            masks[name] = there.float() if known is None else known[rows, at].float() * there
    return replace(output, features=features, masks=masks)


def roomy(chunks: Tensor, quiet: Tensor, rng: np.random.Generator) -> Tensor:
    """Change the gain of chunks [B, 24000] by up to 12 dB, add noise to two thirds, make rooms of the `quiet` ones.

    Noise lies 12 to 45 dB below the chunk; rooms have -100 to -34 dB, and one in eight is digitally silent.
    """
    batch = len(chunks)
    level = chunks.square().mean(dim=1).sqrt().numpy()
    scale = np.where(rng.random(batch) < 0.67, level * 10 ** (-rng.uniform(*_SNR_DB, batch) / 20), 0.0)
    gain = 10 ** (rng.uniform(-_GAIN_DB, _GAIN_DB, batch) / 20)
    rooms = np.where(rng.random(batch) < 1 / 8, 0.0, 10 ** (rng.uniform(*_ROOM_DB, batch) / 20))
    still = quiet.numpy()
    factors = np.where(still, rooms, scale * gain).astype(np.float32)
    noise = torch.from_numpy(room_noise(batch, rng) * factors[:, None])
    return (chunks * torch.from_numpy(gain.astype(np.float32))[:, None] + noise).clamp(-1, 1)


def room_noise(count: int, rng: np.random.Generator) -> Pcm:
    """Return noise of deviation 1, [count, 24000], its colour anywhere between white and brown."""
    spectrum = np.fft.rfft(rng.standard_normal((count, CHUNK_SAMPLES), dtype=np.float32))
    frequency = np.maximum(np.arange(spectrum.shape[1]), _LOWEST_BIN)
    noise = np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1, (count, 1)))
    return np.asarray(noise / noise.std(axis=1, keepdims=True), dtype=np.float32)


def quiet_chunks(count: int, rng: np.random.Generator) -> Pcm:
    """Return chunks without a voice, [count, 24000]."""
    quiet = roomy(torch.zeros(count, CHUNK_SAMPLES), torch.ones(count, dtype=torch.bool), rng)
    return np.asarray(quiet.numpy(), dtype=np.float32)


def clip_accuracy(output: Output, samples: Samples) -> dict[str, float]:
    """Return the accuracy in per cent of whole recordings: by the mean of their hops' log probabilities."""
    assert output.logits is not None
    assert samples.target is not None
    clip = samples.groups[RECORDING]
    count = int(clip.max()) + 1
    total = torch.zeros(count, output.logits.shape[1]).index_add_(0, clip, output.logits.log_softmax(-1))
    target = torch.zeros(count, dtype=torch.int64).scatter_(0, clip, samples.target)
    return {"clip_accuracy": 100 * float((total.argmax(1) == target).float().mean())}
