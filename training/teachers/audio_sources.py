"""What audio teachers are read out of: PCM -> sequences of states, and a vector for the whole recording.

The sources know no labels. `describe` brings their different steps onto slots of 100 ms.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import onnxruntime as ort
import torch
import torchaudio
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.timing import AUDIO_SLOT_SAMPLES, SAMPLE_RATE
from training.distillation.outputs import Output
from training.teachers.fetch import PACKAGES, teacher_folder
from training.teachers.packages import import_package
from training.teachers.whisper import WhisperFeatures

Pcm = NDArray[np.float32]

_SLOT_S: Final = AUDIO_SLOT_SAMPLES / SAMPLE_RATE


@dataclass(frozen=True)
class Described:
    """What a source says about one recording."""

    sequences: dict[str, Tensor]
    """"h1", "h2", ...: [T, D]."""
    step_s: float
    """Seconds from one step to the next; step t is about the time around (t + 0.5) * step_s."""
    vector: Tensor
    """[F], of the whole recording."""


class AudioSource(ABC):
    """A pretrained net, or a set of acoustic features: a Source (training/teachers/sources.py)."""

    reads: ClassVar[str] = "audio"

    @abstractmethod
    def describe(self, pcm: Pcm) -> Described:
        """Return states of samples [N] in [-1, 1] at 16 kHz."""

    def features(self, media: Sequence[Pcm], slots: int | None) -> Output:
        """See Source."""
        return describe_all(self, media, slots or max(len(pcm) for pcm in media) // AUDIO_SLOT_SAMPLES)


def describe_all(source: AudioSource, recordings: Sequence[Pcm], slots: int) -> Output:
    """Return features "h1", "h2", ... [N, slots, D] at 10 Hz with masks, and "vector" [N, F]."""
    sequences: dict[str, list[Tensor]] = {}
    vectors, lengths = [], []
    for pcm in recordings:
        said = source.describe(pcm)
        count = min(slots, max(1, len(pcm) // AUDIO_SLOT_SAMPLES))
        for name, states in said.sequences.items():
            pooled = to_slots(states, said.step_s, count)
            sequences.setdefault(name, []).append(nn.functional.pad(pooled, (0, 0, 0, slots - count)).half())
        vectors.append(said.vector)
        lengths.append(count)
    mask = (torch.arange(slots) < torch.tensor(lengths).unsqueeze(1)).float()
    features = {name: torch.stack(items) for name, items in sequences.items()}
    return Output(features=features | {"vector": torch.stack(vectors)}, masks=dict.fromkeys(features, mask))


def to_slots(states: Tensor, step_s: float, slots: int) -> Tensor:
    """Average states [T, D] over slots of 100 ms, [slots, D]; a slot in which no step lies takes the nearest one."""
    middle = (torch.arange(len(states)) + 0.5) * step_s
    inside = (middle / _SLOT_S).floor().long().unsqueeze(0) == torch.arange(slots).unsqueeze(1)
    centre = (torch.arange(slots) + 0.5) * _SLOT_S
    nearest = (middle.unsqueeze(0) - centre.unsqueeze(1)).abs().argmin(1)
    weights = torch.where(
        inside.any(1, keepdim=True), inside, nn.functional.one_hot(nearest, len(states)).bool()
    ).float()
    averaged: Tensor = weights @ states.float() / weights.sum(1, keepdim=True)
    return averaged


def moments(states: Tensor) -> Tensor:
    """Return mean and deviation over time of [T, D], [2 D]."""
    return torch.cat([states.mean(0), states.std(0, correction=0)])


class Whisper(AudioSource):
    """Whisper's encoder: `h1` its middle layer, `h2` its last; the vector holds the moments of all layers."""

    def __init__(self, weights: Path) -> None:
        self.folder = teacher_folder("whisper", weights)
        self.net: WhisperFeatures | None = None

    def key(self) -> dict[str, object]:
        """For the cache."""
        return {"source": "whisper", "weights": PACKAGES["whisper"].sha256}

    def describe(self, pcm: Pcm) -> Described:
        """20 ms a step."""
        self.net = self.net or WhisperFeatures(self.folder)
        states = self.net.layers(pcm)
        middle = states[len(states) // 2]
        return Described({"h1": middle, "h2": states[-1]}, 0.02, torch.cat([moments(x) for x in states[1:]]))


class SpeechEmbedding(AudioSource):
    """Google's speech_embedding (Lin et al. 2020), two ONNX files: `h1` 96 wide, one step for every 80 ms."""

    _WINDOW: Final = 76
    """Log-mel frames of 10 ms that a step sees, the newest last."""
    _HOP: Final = 8

    def __init__(self, weights: Path) -> None:
        self.folder = teacher_folder("speech_embedding", weights)
        self.sessions: tuple[Any, Any] | None = None

    def key(self) -> dict[str, object]:
        """For the cache."""
        return {"source": "speech_embedding", "weights": PACKAGES["speech_embedding"].sha256}

    def describe(self, pcm: Pcm) -> Described:
        """80 ms a step; before the first sample there are zeros, so that the first step is about the first 80 ms."""
        mel, embed = self.sessions = self.sessions or (self._open("melspectrogram"), self._open("embedding_model"))
        before = np.zeros(self._WINDOW * 160, dtype=np.float32)
        padded = np.concatenate([before, pcm, np.zeros(480, dtype=np.float32)])[None]
        # openWakeWord scales the decibels of the first net to what the second was trained on.
        frames = mel.run(None, {mel.get_inputs()[0].name: padded})[0].reshape(-1, 32) / 10 + 2
        starts = range(self._HOP, len(frames) - self._WINDOW + 1, self._HOP)
        windows = np.stack([frames[start : start + self._WINDOW] for start in starts])[..., None]
        states = embed.run(None, {embed.get_inputs()[0].name: windows.astype(np.float32)})[0].reshape(len(windows), -1)
        sequence = torch.from_numpy(states)
        return Described({"h1": sequence}, 0.08, moments(sequence))

    def _open(self, name: str) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        return ort.InferenceSession(str(self.folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])


class Resemblyzer(AudioSource):
    """The GE2E speaker encoder (Wan et al. 2018) as trained for Resemblyzer: an LSTM of three layers over 40 mels.

    It was trained to ignore everything but the voice, so it is a weak teacher of emotion.
    """

    _LEVEL: Final = 10 ** (-30 / 20)
    """RMS to which quieter recordings are raised."""

    def __init__(self, weights: Path) -> None:
        self.folder = teacher_folder("resemblyzer", weights)
        self.net: tuple[nn.LSTM, nn.Linear, Any] | None = None

    def key(self) -> dict[str, object]:
        """For the cache."""
        return {"source": "resemblyzer", "weights": PACKAGES["resemblyzer"].sha256}

    @torch.no_grad()
    def describe(self, pcm: Pcm) -> Described:
        """10 ms a step: `h1` the states of the last layer; the vector ends with the speaker embedding."""
        lstm, linear, mel = self.net = self.net or self._load()
        samples = torch.from_numpy(pcm)
        samples = samples * max(1.0, self._LEVEL / (float(samples.square().mean().sqrt()) + 1e-9))
        states, (last, _) = lstm(mel(samples).T.unsqueeze(0))
        embedding = nn.functional.normalize(linear(last[-1]).relu(), dim=-1)
        return Described({"h1": states[0]}, 0.01, torch.cat([moments(states[0]), embedding[0]]))

    def _load(self) -> tuple[nn.LSTM, nn.Linear, Any]:
        stored = torch.load(self.folder / "pretrained.pt", map_location="cpu", weights_only=True)["model_state"]
        lstm, linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)
        for name, part in (("lstm", lstm), ("linear", linear)):
            prefix = f"{name}."
            part.load_state_dict({k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)})
        mel = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE, n_fft=400, hop_length=160, n_mels=40, norm="slaney", mel_scale="slaney"
        )
        return lstm.eval(), linear.eval(), mel


class Egemaps(AudioSource):
    """The extended Geneva minimalistic acoustic parameters (Eyben et al. 2016) of openSMILE, licensed for research.

    `h1` the 25 low-level descriptors, the vector the 88 functionals.
    """

    VERSION: Final = "2.6.0"

    def __init__(self, weights: Path = Path()) -> None:
        del weights
        self.smile: Any = import_package("egemaps", "opensmile", f"opensmile=={self.VERSION}")
        self.extractors: tuple[Any, Any] | None = None

    def key(self) -> dict[str, object]:
        """For the cache."""
        return {"source": "eGeMAPSv02", "version": self.smile.__version__}

    def describe(self, pcm: Pcm) -> Described:
        """10 ms a step."""
        levels = self.smile.FeatureLevel
        low, whole = self.extractors = self.extractors or (
            self._open(levels.LowLevelDescriptors),
            self._open(levels.Functionals),
        )
        samples = pcm if len(pcm) >= SAMPLE_RATE // 2 else np.pad(pcm, (0, SAMPLE_RATE // 2 - len(pcm)))
        steps, vector = (
            torch.tensor(part.process_signal(samples, SAMPLE_RATE).to_numpy(np.float32)) for part in (low, whole)
        )
        return Described({"h1": steps.nan_to_num()}, 0.01, vector[0].nan_to_num())

    def _open(self, level: Any) -> Any:
        return self.smile.Smile(feature_set=self.smile.FeatureSet.eGeMAPSv02, feature_level=level)
