"""Any Hugging Face image encoder, by name or folder: ViT, DINOv2, ConvNeXt, ResNet and their like."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModel, FeatureExtractionMixin

from training.distillation.outputs import Output
from training.teachers.cache import Recipe, folder_sha256
from training.teachers.fetch import TeacherError

_BATCH: Final = 32
_SIDE: Final = 224


class HuggingFaceFaces:
    """The vector holds the means of the middle and the last layer."""

    reads: ClassVar[str] = "video"

    def __init__(self, name: str) -> None:
        """Take a name on the hub (needs a network the first time) or a folder."""
        self.name = name
        self.net: tuple[dict[str, Any], Any] | None = None

    def key(self) -> Recipe:
        """For the cache: a folder's content; of a name on the hub the commit that is loaded."""
        if Path(self.name).is_dir():
            return {"source": "hf", "weights": folder_sha256(Path(self.name))}
        return {"source": "hf", "weights": self.name, "commit": str(self._load()[1].config._commit_hash)}

    @torch.inference_mode()
    def features(self, media: Sequence[NDArray[np.uint8]], slots: int | None) -> Output:
        """Return "vector" [N, 2 D] of grey faces [H, W]."""
        del slots
        prepares, net = self._load()
        faces = torch.from_numpy(np.stack(list(media)))
        vectors = []
        for part in torch.split(faces, _BATCH):
            states = net(pixel_values=_pixels(part, prepares), output_hidden_states=True).hidden_states
            vectors.append(torch.cat([_mean(states[len(states) // 2]), _mean(states[-1])], dim=1))
        return Output(features={"vector": torch.cat(vectors)})

    def _load(self) -> tuple[dict[str, Any], Any]:
        if self.net is None:
            try:
                prepares = FeatureExtractionMixin.get_feature_extractor_dict(self.name)[0]
                net: Any = AutoModel.from_pretrained(self.name)
            except (OSError, ValueError) as error:
                raise TeacherError(f"no Hugging Face image encoder at {self.name!r}: {error}") from None
            self.net = prepares, net.train(False)
        return self.net


def _pixels(faces: Tensor, prepares: dict[str, Any]) -> Tensor:
    """Scale and normalise grey faces [B, H, W] as the encoder wants them, [B, 3, S, S]."""
    size = prepares.get("size", _SIDE)
    side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge", _SIDE))
    colour = (faces.float() / 255).unsqueeze(1).expand(-1, 3, -1, -1)
    scaled = nn.functional.interpolate(colour, (side, side), mode="bilinear", antialias=True)
    mean, deviation = (
        torch.tensor(prepares.get(name, [0.5] * 3)).view(3, 1, 1) for name in ("image_mean", "image_std")
    )
    return (scaled - mean) / deviation


def _mean(states: Tensor) -> Tensor:
    """Of tokens [B, T, D], or of a map [B, D, H, W]."""
    return states.mean((2, 3)) if states.ndim == 4 else states.mean(1)
