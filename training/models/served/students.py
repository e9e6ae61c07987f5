"""Served models as students: a task's inputs in, an `Output` out, and the contract's tensors for the export.

Each has its model in `model`, which knows the contract's tensors alone. Logits are calibrated: the temperatures are 1
until the end of training. Names of layers are those of every student: "h1", "h2", ..., "penultimate".
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contract.labels import EMOTIONS, MODALITIES
from training.distillation.outputs import Inputs, Output
from training.models.served.audio import AudioEncoder
from training.models.served.fusion import Fusion, calibrated
from training.models.served.text import TextEncoder
from training.models.served.video import VideoEncoder

_BAND, _STRETCH = 10, 24
"""Most mels and frames that SpecAugment hides."""


class ServedStudent(nn.Module):
    """What the four have in common."""

    served: str
    """Name of the model in the contract."""
    model: nn.Module

    def tensors(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Return the inputs of `model`, in the contract's order and types."""
        raise NotImplementedError


class AudioStudent(ServedStudent):
    """`pcm` [B, 24000]: one second of context and the hop that is asked about.

    Answers for the newest hop; the head "hops" [B, 3, C] has the logits of all three, "hop_sentiment" [B, 3].
    """

    served = "audio_encoder"
    model: AudioEncoder

    def __init__(self, labels: Sequence[str] = EMOTIONS) -> None:
        super().__init__()
        self.model = AudioEncoder(labels=labels)

    def forward(self, inputs: Inputs) -> Output:
        """Return what the newest hop says; the layers have 15 steps of 100 ms."""
        mel = self.model.logmel(inputs["pcm"].float())
        said = self.model.hops(mask_stripes(mel) if self.training else mel)
        logits, sentiment = said.logits / self.model.head.temperature, said.sentiment.squeeze(-1)
        features = {"h1": said.layers[0], "h2": said.layers[1], "h3": said.embedding}
        features["penultimate"] = said.embedding[:, -said.embedding.shape[1] // logits.shape[1] :].mean(dim=1)
        heads = {"hops": logits, "hop_sentiment": sentiment}
        return Output(logits[:, -1], sentiment[:, -1], features=features, heads=heads)

    def tensors(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """PCM."""
        return (inputs["pcm"].float(),)


class VideoStudent(ServedStudent):
    """`face` [B, 64, 64], grey levels 0..255, or [B, 64, 64, 3], RGB."""

    served = "video_encoder"
    model: VideoEncoder

    def __init__(self, labels: Sequence[str] = EMOTIONS) -> None:
        super().__init__()
        self.model = VideoEncoder(labels=labels)

    def forward(self, inputs: Inputs) -> Output:
        """Return what the face says; the layers are maps."""
        face = inputs["face"].float()
        said = self.model.encode(face) if face.ndim == 4 else self.model.encode_grey(face)
        features = {"h1": said.layers[0], "h2": said.layers[1], "penultimate": said.embedding}
        return Output(said.logits / self.model.head.temperature, said.sentiment.squeeze(-1), features=features)

    def tensors(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """FACE."""
        face = inputs["face"].to(torch.uint8)
        return (face if face.ndim == 4 else face.unsqueeze(-1).expand(-1, -1, -1, 3).contiguous(),)


class TextStudent(ServedStudent):
    """`ids` [B, T], `ids_mask` [B, T], T at most 64."""

    served = "text_encoder"
    model: TextEncoder

    def __init__(self, labels: Sequence[str] = EMOTIONS) -> None:
        super().__init__()
        self.model = TextEncoder(labels=labels)

    def forward(self, inputs: Inputs) -> Output:
        """Return what the text says; the layers are sequences of word pieces."""
        mask = inputs["ids_mask"].long()
        said = self.model.encode(inputs["ids"].long(), mask)
        features = {f"h{i}": layer for i, layer in enumerate(said.layers, start=1)}
        masks = {name: mask.float() for name in features}
        features["penultimate"] = said.embedding.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        logits = said.logits / self.model.head.temperature
        return Output(logits, said.sentiment.squeeze(-1), features=features, masks=masks)

    def tensors(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """INPUT_IDS and ATTENTION_MASK."""
        return inputs["ids"].long(), inputs["ids_mask"].long()


class FusionStudent(ServedStudent):
    """`audio`, `video`, `text` [B, slots, D], their masks [B, slots] and `present` [B, 3].

    The head "polarity" [B, 3] has the logits of the polarities. Each modality's summary is a feature under its name,
    and what it says alone is `<modality>.logits`: the head is linear in the weighted sum of summaries.
    """

    served = "fusion"
    model: Fusion

    def __init__(self) -> None:
        super().__init__()
        self.model = Fusion()

    def forward(self, inputs: Inputs) -> Output:
        """Return what the window says, as a whole and by modality."""
        audio, audio_mask, video, video_mask, text, text_mask = self.tensors(inputs)
        masks = (audio_mask, video_mask, text_mask)
        fused = self.model.fuse((audio, video, text), masks)
        temperature = self.model.temperature
        features = {"h1": fused.latents}
        for i, modality in enumerate(MODALITIES):
            summary = fused.summaries[:, i]
            features |= {modality: summary, f"{modality}.logits": self.model.emotion(summary) / temperature[1]}
        features["penultimate"] = fused.mixed
        return Output(
            fused.emotion_logits / temperature[1],
            calibrated(fused, temperature)[0].squeeze(-1),
            features=features,
            present=torch.stack([mask.amax(dim=1) for mask in masks], dim=1),
            heads={"polarity": fused.polarity_logits / temperature[0]},
        )

    def tensors(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Embeddings and masks of each modality; of one that is not `present` all slots are masked."""
        tensors = []
        for i, modality in enumerate(MODALITIES):
            mask = inputs[f"{modality}_mask"].float() * inputs["present"][:, i : i + 1]
            tensors += [inputs[modality].float(), mask]
        return tuple(tensors)


def mask_stripes(mel: Tensor) -> Tensor:
    """SpecAugment (Park et al. 2019): replace a band of mels and a stretch of frames by the item's mean.

    Drawn from torch's global generator; `mel` is [B, mels, frames].
    """
    batch, mels, frames = mel.shape
    band = _stripe(batch, mels, _BAND, mel.device)[:, :, None]
    stretch = _stripe(batch, frames, _STRETCH, mel.device)[:, None, :]
    return torch.where(band | stretch, mel.mean(dim=(1, 2), keepdim=True), mel)


def _stripe(batch: int, size: int, longest: int, device: torch.device) -> Tensor:
    low, extent = torch.randint(size, (batch, 1)), torch.randint(longest + 1, (batch, 1))
    axis = torch.arange(size)
    return ((axis >= low) & (axis < low + extent)).to(device)
