"""A whole window in one graph: the encoders, then fusion, exactly as the streaming server composes them."""

import torch
from torch import Tensor, nn

from contract.timing import CHUNK_SAMPLES, HOP_SAMPLES, HOPS_PER_WINDOW
from training.models.served.audio import AudioEncoder
from training.models.served.fusion import Fusion
from training.models.served.text import TextEncoder
from training.models.served.video import VideoEncoder


class Window(nn.Module):
    """PCM [B, 80000], FACES [B, 20, 64, 64, 3], INPUT_IDS, ATTENTION_MASK and three masks -> fusion's four outputs."""

    def __init__(self, audio: AudioEncoder, video: VideoEncoder, text: TextEncoder, fusion: Fusion) -> None:
        super().__init__()
        self.audio_encoder, self.video_encoder, self.text_encoder, self.fusion = audio, video, text, fusion

    def forward(
        self,
        pcm: Tensor,
        faces: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        audio_mask: Tensor,
        video_mask: Tensor,
        text_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return SENTIMENT, POLARITY, EMOTION, CONTRIBUTION."""
        audio, video, text = self.embed(pcm, faces, input_ids, attention_mask)
        fused: tuple[Tensor, Tensor, Tensor, Tensor] = self.fusion(
            audio, audio_mask, video, video_mask, text, text_mask
        )
        return fused

    def embed(
        self, pcm: Tensor, faces: Tensor, input_ids: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return AUDIO [B, 40, D], VIDEO [B, 20, D] and TEXT [B, 64, D], fusion's inputs."""
        starts = range(0, HOPS_PER_WINDOW * HOP_SAMPLES, HOP_SAMPLES)
        chunks = torch.stack([pcm[:, start : start + CHUNK_SAMPLES] for start in starts], dim=1)
        audio = self.audio_encoder.encode(chunks.flatten(0, 1)).embedding
        video = self.video_encoder.encode(faces.flatten(0, 1)).embedding
        text = self.text_encoder.encode(input_ids, attention_mask).embedding
        audio = torch.unflatten(audio, 0, (-1, HOPS_PER_WINDOW)).flatten(1, 2)
        return audio, torch.unflatten(video, 0, (-1, faces.shape[1])), text
