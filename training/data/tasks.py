"""The tasks that distillation runs on, by name. Each is made from the data folder: `TASKS["ravdess"](data)`."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from training.data.task import Task
from training.tasks.composed import ComposedVectors
from training.tasks.fer2013 import Fer2013
from training.tasks.folder import Folder
from training.tasks.meld import Meld, MeldEmotion
from training.tasks.mosi import Mosi, MosiPublished
from training.tasks.ravdess import Ravdess
from training.tasks.sst import Sst2, Sst5

TASKS: Final[dict[str, Callable[[Path], Task]]] = {
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
}
