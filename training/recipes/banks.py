"""Runs the trained encoders over the corpora, and keeps their embeddings for composing windows."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from contract.labels import EMOTIONS
from contract.models import EMBEDDING_DIM
from contract.timing import AUDIO_SLOTS, AUDIO_SLOTS_PER_HOP, HOP_SAMPLES, HOPS_PER_WINDOW
from training.data import fer2013, meld, ravdess, sst_mr, tweeteval, vader
from training.data.composed import Bank, Composed, FaceBank
from training.data.corpora import text_targets
from training.data.folder import Split
from training.data.hops import chunks_of
from training.data.sentences import Sentence, bare
from training.data.tokenizer import encode_texts
from training.models import Window
from training.recipes.audio import Pcm, add_noise, quiet_chunks, speed_variants
from training.recipes.run import Run

_WINDOWS_PER_CLIP: Final = 4
_VARIANTS_PER_CLIP: Final = 2
_QUIET_WINDOWS: Final = 256
_BATCH: Final = 256


@torch.inference_mode()
def compose_split(window: Window, run: Run, tokenizer: Tokenizer, split: Split, rng: np.random.Generator) -> Composed:
    """Return the composed corpus of one split. Only `train` is augmented and has rated sentences and quiet audio."""
    train = split == "train"
    sentences: list[Sentence] = meld.load(run.data, split)
    if split != "test":
        sentences = sentences + tweeteval.load(run.data, split)
    rated = sst_mr.load_sst5(run.data, "train") + vader.load(run.data, "train") if train else []
    return Composed(
        _audio_bank(window, ravdess.load(run.data, split), rng, augmented=train),
        _face_bank(window, fer2013.load(run.data, split)),
        _text_bank(window, tokenizer, sentences, mixed=train),
        _text_bank(window, tokenizer, rated, mixed=True) if rated else None,
        _quiet(window, rng) if train else None,
    )


def _audio_bank(window: Window, clips: Sequence[ravdess.Clip], rng: np.random.Generator, augmented: bool) -> Bank:
    tokens, masks, labels = [], [], []
    for clip in clips:
        recording = ravdess.read_pcm(clip.path)
        for pcm in _variants(recording, rng) if augmented else [recording]:
            chunks = chunks_of(pcm, int(rng.integers(0, HOP_SAMPLES)))
            if augmented:
                chunks = np.clip(add_noise(chunks, rng) * 10 ** (rng.uniform(-12, 12) / 20), -1, 1).astype(np.float32)
            hops = window.audio_encoder.encode(torch.from_numpy(chunks)).embedding
            for end in rng.integers(min(3, len(hops)), len(hops) + 1, _WINDOWS_PER_CLIP):
                item, mask = _right_aligned(hops[max(0, end - HOPS_PER_WINDOW) : end].flatten(0, 1))
                tokens.append(item.half())
                masks.append(mask)
                labels.append(EMOTIONS.index(clip.emotion))
    emotion = np.array(labels)
    return Bank(torch.stack(tokens), torch.stack(masks), emotion, np.zeros(len(emotion), dtype=np.float32))


def _variants(recording: Pcm, rng: np.random.Generator) -> list[Pcm]:
    variants = speed_variants(recording)
    return [variants[i] for i in rng.choice(len(variants), _VARIANTS_PER_CLIP, replace=False)]


def _right_aligned(slots: Tensor) -> tuple[Tensor, Tensor]:
    item, mask = torch.zeros(AUDIO_SLOTS, EMBEDDING_DIM), torch.zeros(AUDIO_SLOTS)
    item[AUDIO_SLOTS - len(slots) :] = slots
    mask[AUDIO_SLOTS - len(slots) :] = 1
    return item, mask


def _quiet(window: Window, rng: np.random.Generator) -> Tensor:
    """Return audio windows without a voice, [N, 40, D]."""
    chunks = torch.from_numpy(quiet_chunks(_QUIET_WINDOWS, rng))
    embedding = window.audio_encoder.encode(chunks).embedding
    return embedding.repeat(1, AUDIO_SLOTS // AUDIO_SLOTS_PER_HOP, 1).half()


def _face_bank(window: Window, faces: fer2013.Faces) -> FaceBank:
    grey = torch.from_numpy(fer2013.enlarge(faces.images))
    embeddings = [window.video_encoder.encode_grey(part.float()).embedding for part in torch.split(grey, _BATCH)]
    return FaceBank(torch.cat(embeddings).half(), faces.labels)


def _text_bank(window: Window, tokenizer: Tokenizer, sentences: Sequence[Sentence], mixed: bool) -> Bank:
    """Encode sentences; when `mixed`, every other one without punctuation."""
    texts = [bare(s.text) or s.text if mixed and i % 2 else s.text for i, s in enumerate(sentences)]
    ids, mask = encode_texts(tokenizer, texts)
    parts = zip(torch.split(ids, _BATCH), torch.split(mask, _BATCH), strict=True)
    tokens = torch.cat([window.text_encoder.encode(i, m).embedding.half() for i, m in parts])
    targets = text_targets(sentences)
    return Bank(tokens, mask.float(), targets.emotion.numpy(), targets.sentiment.numpy())
