"""The tasks that distillation runs on, by name. Each is made from the data folder: `TASKS["ravdess"](data)`.

Those of installed packages come by their entry points `moodstream.tasks` (training/names.py).
"""

from collections.abc import Callable
from pathlib import Path

from training.data.clip_folder import Folder
from training.data.composed_vectors import ComposedVectors
from training.data.fer2013 import Fer2013
from training.data.meld import Meld, MeldEmotion
from training.data.mosi import Mosi, MosiPublished
from training.data.ravdess import Ravdess
from training.data.served.audio_encoder import AudioEncoderTask, FolderAudio
from training.data.served.fusion import FusionTask
from training.data.served.text_encoder import FolderText, TextEncoderTask
from training.data.served.video_encoder import FolderVideo, VideoEncoderTask
from training.data.sst import Sst2, Sst5
from training.data.task import Task
from training.names import Registry

_OWN: dict[str, Callable[[Path], Task]] = {
    "ravdess": Ravdess,
    "fer2013": Fer2013,
    "sst2": Sst2,
    "sst5": Sst5,
    "mosi": Mosi,
    "mosi_published": MosiPublished,
    "meld": Meld,
    "meld_emotion": MeldEmotion,
    "composed": ComposedVectors,
    "folder": Folder,
    "audio_encoder": AudioEncoderTask,
    "video_encoder": VideoEncoderTask,
    "text_encoder": TextEncoderTask,
    "fusion": FusionTask,
    "folder_audio": FolderAudio,
    "folder_video": FolderVideo,
    "folder_text": FolderText,
}

TASKS: Registry[Callable[[Path], Task]] = Registry("task", "moodstream.tasks", _OWN)
