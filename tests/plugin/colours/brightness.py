"""A teacher: the mean and the deviation of a face's brightness, in quarters."""

import numpy as np
import torch

from training.distillation import Output


class Brightness:
    """A source of faces; a small net on top learns the task's labels."""

    reads = "video"

    def __init__(self, weights):
        del weights

    def key(self):
        """Nothing but the code decides."""
        return {"source": "brightness", "version": 1}

    def features(self, media, slots):
        """[N, 8]."""
        del slots
        faces = torch.from_numpy(np.stack(list(media))).float() / 255
        quarters = faces.unfold(1, 24, 24).unfold(2, 24, 24).flatten(3).flatten(1, 2)
        return Output(features={"vector": torch.cat([quarters.mean(2), quarters.std(2)], dim=1)})
