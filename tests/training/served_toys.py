"""Tasks of the served students over a few random samples, so that every method can be tried on every student."""

from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from contract.labels import EMOTIONS, MODALITIES
from training.data.served.audio_encoder import AudioEncoderTask, clip_accuracy, prepared
from training.data.served.base import ServedTask, fit_emotion_temperature, valence_of
from training.data.served.fusion import FusionTask, fit_temperatures, fused_loss
from training.data.served.text_encoder import TextEncoderTask
from training.data.served.video_encoder import smoothed, varied
from training.data.task import RECORDING, Hooks, Samples, Split, TeacherBank
from training.distillation.outputs import Output
from training.models.served.students import AudioStudent, FusionStudent, TextStudent, VideoStudent

TRAIN, HELD = 64, 12
WIDTH = 24


class ServedToy(ServedTask):
    """Random inputs whose label can't be known; two teachers that know it, one more surely than the other."""

    teacher_names = ("good", "fair")
    layers: ClassVar[dict[str, tuple[int, ...]]] = {"h1": (8, WIDTH)}

    def __init__(self):
        self.samples = cache(self._drawn)
        self.labels = EMOTIONS

    def fingerprint(self):
        return self.name

    def _drawn(self, split: Split) -> Samples:
        count = TRAIN if split == "train" else HELD
        generator = torch.Generator().manual_seed(len(split))
        target = torch.arange(count) % len(EMOTIONS)
        inputs, labels = self._inputs(count, split, generator)
        return Samples(
            inputs,
            target,
            valence_of(EMOTIONS)[target],
            {RECORDING: torch.arange(count) // 2},
            [f"{split}-{i}" for i in range(count)],
            torch.ones(count, 3),
            labels=labels,
        )

    def _inputs(self, count: int, split: Split, generator: torch.Generator):
        raise NotImplementedError

    def teacher(self, name: str) -> TeacherBank:
        return TeacherBank(name, lambda split: self._said(name, self.samples(split)))

    def _said(self, name: str, samples: Samples) -> Output:
        assert samples.target is not None
        generator = torch.Generator().manual_seed(len(name) + len(samples))
        count = len(samples)
        logits = {"good": 3.0, "fair": 1.0}[name] * torch.nn.functional.one_hot(samples.target, len(EMOTIONS)).float()
        logits = logits + torch.randn(logits.shape, generator=generator)
        features = {k: torch.randn(count, *shape, generator=generator) for k, shape in self.layers.items()}
        features["penultimate"] = torch.randn(count, WIDTH, generator=generator)
        score = logits.softmax(-1) @ valence_of(EMOTIONS)
        return Output(logits, score, torch.full((count,), 0.1), features, present=samples.present)


class AudioToy(ServedToy, AudioEncoderTask):
    name = "audio_encoder"
    layers: ClassVar[dict[str, tuple[int, ...]]] = {"h1": (20, WIDTH)}

    def __init__(self):
        super().__init__()
        self.hooks = Hooks(self._loss, prepared, clip_accuracy, fit_emotion_temperature)

    def _inputs(self, count, split, generator):
        if split != "train":
            return {"pcm": 0.1 * torch.randn(count, 24_000, generator=generator)}, {}
        pcm = (3000 * torch.randn(count, 20 * 1600, generator=generator)).short()
        return {"pcm": pcm, "slots": torch.randint(5, 21, (count,), generator=generator)}, {}

    def _student(self, name):
        return AudioStudent(self.labels)


class VideoToy(ServedToy):
    name = "video_encoder"
    layers: ClassVar[dict[str, tuple[int, ...]]] = {"h1": (WIDTH, 8, 8)}
    hooks = Hooks(loss=smoothed, calibrate=fit_emotion_temperature)

    def _inputs(self, count, split, generator):
        return {"face": torch.randint(256, (count, 64, 64), generator=generator).to(torch.uint8)}, {}

    def augment(self, inputs, generator):
        return {"face": varied(inputs["face"].float(), generator)}

    def _student(self, name):
        return VideoStudent(self.labels)


class TextToy(ServedToy, TextEncoderTask):
    name = "text_encoder"
    metric = "accuracy"
    layers: ClassVar[dict[str, tuple[int, ...]]] = {"h1": (64, WIDTH)}

    def __init__(self):
        super().__init__()
        self.hooks = Hooks(self._loss, None, None, fit_emotion_temperature)

    def _inputs(self, count, split, generator):
        ids = torch.randint(4, 8000, (count, 64), generator=generator).int()
        mask = (torch.arange(64) < torch.randint(2, 30, (count, 1), generator=generator)).to(torch.uint8)
        among = {"among": torch.ones(count, len(EMOTIONS), dtype=torch.bool)}
        return {"ids": ids, "ids_mask": mask, "heard": ids, "heard_mask": mask}, among

    def _student(self, name):
        return TextStudent(self.labels)


class FusionToy(ServedToy, FusionTask):
    name = "fusion"
    hooks = Hooks(fused_loss, calibrate=fit_temperatures)

    def __init__(self):
        super().__init__()

    def _inputs(self, count, split, generator):
        slots = dict(zip(MODALITIES, (40, 20, 64), strict=True))
        inputs: dict[str, Tensor] = {
            m: torch.randn(count, n, 128, generator=generator).half() for m, n in slots.items()
        }
        inputs |= {f"{m}_mask": torch.ones(count, n, dtype=torch.uint8) for m, n in slots.items()}
        return inputs | {"present": torch.ones(count, 3)}, {"polarity": torch.arange(count) % 3}

    def _said(self, name, samples):
        output = super()._said(name, samples)
        for modality in MODALITIES:
            output.features |= {modality: output.features["penultimate"] + 1, f"{modality}.logits": output.logits + 0.1}
        return output

    def _student(self, name):
        return FusionStudent()


TOYS = {toy.name: toy for toy in (AudioToy, VideoToy, TextToy, FusionToy)}
