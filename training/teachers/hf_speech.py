"""Any Hugging Face speech encoder, by name or folder: wav2vec 2.0, HuBERT, WavLM, Whisper and their like."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor, AutoModel

from contract.timing import SAMPLE_RATE
from training.teachers.audio_sources import AudioSource, Described, moments
from training.teachers.cache import folder_sha256
from training.teachers.fetch import TeacherError


class HuggingFaceSpeech(AudioSource):
    """`h1` the middle layer, `h2` the last; the vector holds the moments of all layers."""

    def __init__(self, name: str) -> None:
        """Take a name on the hub (needs a network the first time) or a folder."""
        self.name = name
        self.net: tuple[Any, Any] | None = None

    def key(self) -> dict[str, object]:
        """For the cache: a folder's content; of a name on the hub the commit that is loaded."""
        if Path(self.name).is_dir():
            return {"source": "hf", "weights": folder_sha256(Path(self.name))}
        return {"source": "hf", "weights": self.name, "commit": str(self._load()[1].config._commit_hash)}

    @torch.inference_mode()
    def describe(self, pcm: NDArray[np.float32]) -> Described:
        """Return states of samples [N] at 16 kHz; the step follows from how many there are."""
        extract, net = self._load()
        if net.config.model_type == "whisper":
            states = _whisper_states(extract, net, pcm)
        else:
            values = extract(pcm, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
            states = [layer[0] for layer in net(values, output_hidden_states=True).hidden_states]
        step_s = len(pcm) / SAMPLE_RATE / len(states[0])
        vector = torch.cat([moments(layer) for layer in states[1:]])
        return Described({"h1": states[len(states) // 2], "h2": states[-1]}, step_s, vector)

    def _load(self) -> tuple[Any, Any]:
        if self.net is None:
            try:
                extractors: Any = AutoFeatureExtractor
                extract, net = extractors.from_pretrained(self.name), AutoModel.from_pretrained(self.name)
            except (OSError, ValueError) as error:
                raise TeacherError(f"no Hugging Face speech encoder at {self.name!r}: {error}") from None
            self.net = extract, net.train(False)
        return self.net


def _whisper_states(extract: Any, net: Any, pcm: NDArray[np.float32]) -> list[torch.Tensor]:
    """Whisper's encoder wants 30 s: the states of the padding are left out."""
    values = extract(pcm, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    layers = net.encoder(values, output_hidden_states=True).hidden_states
    steps = max(1, len(pcm) // (SAMPLE_RATE // 50))
    return [layer[0, :steps] for layer in layers]
