"""The students, in PyTorch: one file a model. They know shapes and rates from `contract`, and no data and no training.

`forward` of every model takes and returns exactly the tensors of its `ModelSpec`, in that order; `encode` or `fuse`
gives what training needs instead (logits before calibration).
"""

from typing import Final

from torch import nn

from training.models.served.audio import AudioEncoder
from training.models.served.fusion import Fusion
from training.models.served.text import TextEncoder
from training.models.served.video import VideoEncoder
from training.models.served.window import Window

STUDENTS: Final[dict[str, type[nn.Module]]] = {
    "audio_encoder": AudioEncoder,
    "video_encoder": VideoEncoder,
    "text_encoder": TextEncoder,
    "fusion": Fusion,
}
"""The models that have weights of their own; `window` is composed of them."""

__all__ = ["STUDENTS", "AudioEncoder", "Fusion", "TextEncoder", "VideoEncoder", "Window"]
