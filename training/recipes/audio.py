"""Trains the audio student on RAVDESS, on hops at random positions, so that every hop of a stream makes sense.

Acted, studio-clean clips of fifteen people are all there is: speed, gain, noise and spectral masks stand in for other
voices, levels and rooms. A share of hops holds no voice at all and is called neutral.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray
from torch import Tensor

from contract.labels import EMOTIONS
from contract.timing import CHUNK_SAMPLES, CONTEXT_SAMPLES, HOP_SAMPLES, SAMPLE_RATE
from training.data import ravdess
from training.data.folder import Split
from training.data.hops import chunks_of
from training.distillation.losses import classification, regression
from training.distillation.methods.kd import kd
from training.loop import Schedule, fit
from training.metrics import Scores, classification_scores, fit_temperature
from training.models.served.audio import AudioEncoder
from training.recipes.run import Run, valence_table

EPOCHS: Final = 30
BATCH: Final = 64
LEARNING_RATE: Final = 2e-3
SMOOTHING: Final = 0.1
SENTIMENT_WEIGHT: Final = 0.5
CHUNKS_PER_CLIP: Final = 4
"""Random chunks of each clip in an epoch."""
TEMPERATURE: Final = 2.0
KD_WEIGHT: Final = 0.6
"""Share of the teacher; the labels have the rest."""
OLDER_WEIGHT: Final = 0.5
"""Weight of the two hops of context in a chunk."""
QUIET_SHARE: Final = 0.08
"""Share of hops without a voice, labelled neutral."""

_SPEEDS: Final = (0.9, 0.95, 1.0, 1.06, 1.12)
_GAIN_DB: Final = (-12.0, 12.0)
_SNR_DB: Final = (12.0, 45.0)
_ROOM_DB: Final = (-100.0, -34.0)
_LOWEST_BIN: Final = 30
"""20 Hz: below it noise gets no louder."""
_NEUTRAL: Final = EMOTIONS.index("neutral")
_VOICED_DB: Final = 30.0
"""A hop with less than this below the clip's loudest hop carries voice; quieter ones teach nothing."""

Pcm = NDArray[np.float32]


@dataclass(frozen=True)
class ChunkBatch:
    """PCM [B, 24000], labels [B], the weight of each chunk's three hops [B, 3], and the clips' indices [B].

    A chunk without a voice has index -1.
    """

    pcm: Tensor
    labels: Tensor
    weights: Tensor
    clips: Tensor


def train_audio(run: Run, teacher_outputs: Path | None) -> dict[str, float]:
    """Train, calibrate on validation and keep `<runs>/audio_encoder/best.pt`; returns the validation metrics.

    Args:
        run: see there.
        teacher_outputs: the file that `training.teachers.audio_teacher.teach` wrote; None trains on labels alone.
    """
    rng = run.start()
    student = AudioEncoder()
    clips = ravdess.load(run.data, "train")
    voices = [speed_variants(ravdess.read_pcm(clip.path)) for clip in clips]
    labels = np.array([EMOTIONS.index(clip.emotion) for clip in clips])
    valid = ClipSet(ravdess.load(run.data, "valid"))
    valence, taught = valence_table(), _teacher_logits(teacher_outputs, clips)
    steps = len(clips) * CHUNKS_PER_CLIP // BATCH

    def batches(_: int) -> Iterator[ChunkBatch]:
        order = np.concatenate([rng.permutation(len(clips)) for _ in range(CHUNKS_PER_CLIP)])
        for index in order[: steps * BATCH].reshape(steps, BATCH):
            yield make_batch([voices[i] for i in index], labels[index], index, rng)

    def loss(batch: ChunkBatch) -> Tensor:
        logits, sentiment = student.hop_scores(mask_stripes(student.logmel(batch.pcm), rng))
        target = batch.labels.repeat_interleave(logits.shape[1])
        flat = logits.flatten(0, 1)
        terms = classification(flat, target, SMOOTHING)
        if taught is not None:
            known = (batch.clips >= 0).float().repeat_interleave(logits.shape[1]) * KD_WEIGHT
            teacher = taught[batch.clips].repeat_interleave(logits.shape[1], dim=0)
            terms = (1 - known) * terms + known * kd(flat, teacher, TEMPERATURE)
        terms = terms + SENTIMENT_WEIGHT * regression(sentiment.reshape(-1, 1), valence[target])
        weights = batch.weights.flatten()
        return (weights * terms).sum() / weights.sum()

    def validate() -> dict[str, float]:
        clip_logits = valid.clip_log_probabilities(student)
        scores = classification_scores(clip_logits, valid.labels)
        hops = classification_scores(valid.hop_logits(student), valid.hop_labels)
        cross_entropy = float(torch.nn.functional.nll_loss(torch.log_softmax(clip_logits, -1), valid.labels))
        return {"score": scores.accuracy - cross_entropy, "clip": scores.accuracy, "hop": hops.accuracy}

    folder = run.runs / "audio_encoder"
    schedule = Schedule(run.epochs or EPOCHS, steps, LEARNING_RATE, weight_decay=0.05)
    best = fit(student, batches, loss, validate, schedule, folder)
    student.head.temperature.fill_(fit_temperature(valid.hop_logits(student), valid.hop_labels))
    torch.save(student.state_dict(), folder / "best.pt")
    return best


def _teacher_logits(outputs: Path | None, clips: Sequence[ravdess.Clip]) -> Tensor | None:
    if outputs is None:
        return None
    stored: dict[str, Any] = torch.load(outputs, weights_only=True)
    if stored["clips"] != [clip.path.name for clip in clips]:
        raise ValueError(f"{outputs} was made of other clips: teach again")
    logits: Tensor = stored["logits"]
    return logits


class ClipSet:
    """Clips cut into hops as a session cuts them, for evaluation."""

    def __init__(self, clips: Sequence[ravdess.Clip]) -> None:
        chunks = [chunks_of(ravdess.read_pcm(clip.path)) for clip in clips]
        self.chunks = torch.from_numpy(np.concatenate(chunks))
        self.labels = torch.tensor([EMOTIONS.index(clip.emotion) for clip in clips])
        self.clip_of_hop = torch.repeat_interleave(torch.arange(len(clips)), torch.tensor([len(c) for c in chunks]))
        self.hop_labels = self.labels[self.clip_of_hop]

    @torch.inference_mode()
    def hop_logits(self, student: AudioEncoder) -> Tensor:
        """Return uncalibrated logits [hops, 7]."""
        student.eval()
        return torch.cat([student.encode(part).logits for part in torch.split(self.chunks, 256)])

    def clip_log_probabilities(self, student: AudioEncoder) -> Tensor:
        """Return the mean over a clip's hops of the calibrated log probabilities, [clips, 7]."""
        log_probabilities = torch.log_softmax(self.hop_logits(student) / student.head.temperature, dim=-1)
        total = torch.zeros(len(self.labels), log_probabilities.shape[1])
        total.index_add_(0, self.clip_of_hop, log_probabilities)
        return total / torch.bincount(self.clip_of_hop).unsqueeze(-1)


def evaluate_audio(student: AudioEncoder, run: Run) -> dict[str, Scores]:
    """Return calibrated scores by split, of clips and of single hops."""
    scores: dict[str, Scores] = {}
    splits: tuple[Split, ...] = ("valid", "test")
    for split in splits:
        clips = ClipSet(ravdess.load(run.data, split))
        scores[split] = classification_scores(clips.clip_log_probabilities(student), clips.labels)
        hop_logits = clips.hop_logits(student) / student.head.temperature
        scores[f"{split}_hops"] = classification_scores(hop_logits, clips.hop_labels)
    return scores


def speed_variants(pcm: Pcm) -> list[Pcm]:
    """Return the recording at several speeds, pitch and formants moving along: other speakers."""
    samples = torch.from_numpy(pcm)
    rates = [round(SAMPLE_RATE * speed / 100) * 100 for speed in _SPEEDS]
    return [torchaudio.functional.resample(samples, rate, SAMPLE_RATE).numpy() for rate in rates]


def make_batch(
    voices: Sequence[Sequence[Pcm]], labels: NDArray[np.int64], clips: NDArray[np.int64], rng: np.random.Generator
) -> ChunkBatch:
    """Return one random chunk per recording; some have no voice, and are called neutral."""
    chunks = np.stack([random_chunk(variants[rng.integers(len(variants))], rng) for variants in voices])
    labels, clips, weights = labels.copy(), clips.copy(), hop_weights(chunks)
    quiet = rng.random(len(chunks)) < QUIET_SHARE
    gain = 10 ** (rng.uniform(*_GAIN_DB, len(chunks)) / 20)
    chunks = add_noise(chunks, rng) * gain[:, None]
    chunks[quiet] = quiet_chunks(int(quiet.sum()), rng)
    labels[quiet], clips[quiet], weights[quiet] = _NEUTRAL, -1, 1
    pcm = np.clip(chunks, -1, 1).astype(np.float32)
    return ChunkBatch(
        torch.from_numpy(pcm), torch.from_numpy(labels), torch.from_numpy(weights), torch.from_numpy(clips)
    )


def hop_weights(chunks: Pcm) -> NDArray[np.float32]:
    """Return [B, 3]: 1 for the newest hop, less for older ones, 0 for those in which there is no voice yet."""
    peaks = np.abs(chunks).reshape(len(chunks), -1, HOP_SAMPLES).max(axis=2)
    heard = np.maximum.accumulate(peaks, axis=1) > peaks.max(axis=1, keepdims=True) * 10 ** (-_VOICED_DB / 20)
    weights = np.where(heard, OLDER_WEIGHT, 0.0).astype(np.float32)
    weights[:, -1] = 1
    return weights


def random_chunk(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """Return a chunk [24000] whose new hop is one of the voiced parts of the recording, at any position."""
    padded = np.zeros(CONTEXT_SAMPLES + len(pcm) + HOP_SAMPLES, dtype=np.float32)
    padded[CONTEXT_SAMPLES : CONTEXT_SAMPLES + len(pcm)] = pcm
    threshold = np.abs(pcm).max() * 10 ** (-_VOICED_DB / 20)
    for _ in range(8):
        start = int(rng.integers(0, len(pcm)))
        chunk = padded[start : start + CHUNK_SAMPLES]
        if np.abs(chunk[CONTEXT_SAMPLES // 2 :]).max() > threshold:
            break
    return chunk.copy()


def room_noise(count: int, rng: np.random.Generator) -> Pcm:
    """Return noise of deviation 1, [count, 24000], its colour anywhere between white and brown."""
    spectrum = np.fft.rfft(rng.standard_normal((count, CHUNK_SAMPLES), dtype=np.float32))
    frequency = np.maximum(np.arange(spectrum.shape[1]), _LOWEST_BIN)
    noise = np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1, (count, 1)))
    return np.asarray(noise / noise.std(axis=1, keepdims=True), dtype=np.float32)


def add_noise(chunks: Pcm, rng: np.random.Generator) -> Pcm:
    """Add room noise, 12 to 45 dB below the chunk, to two thirds of the chunks."""
    level = np.sqrt(np.square(chunks).mean(axis=1))
    snr = 10 ** (-rng.uniform(*_SNR_DB, len(chunks)) / 20)
    scale = np.where(rng.random(len(chunks)) < 0.67, level * snr, 0.0).astype(np.float32)
    return chunks + scale[:, None] * room_noise(len(chunks), rng)


def quiet_chunks(count: int, rng: np.random.Generator) -> Pcm:
    """Return chunks without a voice [count, 24000]: rooms at -100 to -34 dB, one in eight digitally silent."""
    level = 10 ** (rng.uniform(*_ROOM_DB, count) / 20)
    level[rng.random(count) < 1 / 8] = 0
    return room_noise(count, rng) * level[:, None].astype(np.float32)


def mask_stripes(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """SpecAugment (Park et al. 2019): replace a band of mels and a stretch of frames by the item's mean."""
    batch, mels, frames = mel.shape
    band = _stripe(batch, mels, 10, rng)[:, :, None]
    stretch = _stripe(batch, frames, 24, rng)[:, None, :]
    return torch.where(band | stretch, mel.mean(dim=(1, 2), keepdim=True), mel)


def _stripe(batch: int, size: int, longest: int, rng: np.random.Generator) -> Tensor:
    low, extent = rng.integers(0, size, batch)[:, None], rng.integers(0, longest + 1, batch)[:, None]
    axis = np.arange(size)
    return torch.from_numpy((axis >= low) & (axis < low + extent))
