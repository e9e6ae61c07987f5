"""Runs a recipe on a toy task in a process of its own: `python -m tests.training.engine.run_toy RECIPE.json FOLDER`.

Prints `step N` after every step, so that a test can kill it at a step that it likes.
"""

import json
import sys
from pathlib import Path

import torch

from tests.training.engine.toy import TASKS
from training.engine.recipe import recipe_of
from training.engine.trainer import distil
from training.engine.watchers import Silence


class Herald(Silence):
    def stepped(self, step: int) -> None:
        print(f"step {step}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    recipe, folder = Path(sys.argv[1]), Path(sys.argv[2])
    wanted = recipe_of(json.loads(recipe.read_text()))
    distil(wanted, TASKS[wanted.task](), folder, (Herald(),))
