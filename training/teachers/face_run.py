"""`python -m training.teachers.face_run`: trains the face teacher's nets one after another, and measures them."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import nn

from training.data.ferplus import VotedFaces, load_faces
from training.data.folder import data_root
from training.teachers.face_teacher import FaceRecipe, FaceTraining, face_outputs

log = logging.getLogger(__name__)


def face_scores(nets: Sequence[nn.Module], faces: VotedFaces) -> dict[str, float]:
    """Return accuracies in per cent: FER2013's labels, without its duplicates; FER+'s majority and plurality."""
    people, published, _ = face_outputs(nets, faces.images)
    return {
        "fer2013": _accuracy(published, faces.labels, np.ones(len(faces), bool)),
        "fer2013_new": _accuracy(published, faces.labels, ~faces.duplicate),
        "ferplus_majority": _accuracy(people, faces.majority, faces.majority >= 0),
        "ferplus_plurality": _accuracy(people, faces.plurality, faces.plurality >= 0),
    }


def main(
    cache: Path,
    data: Annotated[Path | None, typer.Option()] = None,
    nets: int = 2,
    epochs: int = FaceRecipe.epochs,
    threads: int = 1,
) -> None:
    """Train NETS nets into CACHE/face; a run that was stopped goes on after its last epoch."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    root, folder = data_root(data), cache / "face"
    train, valid, test = load_faces(root, "train"), load_faces(root, "valid"), load_faces(root, "test")
    done: list[nn.Module] = []
    for seed in range(nets):
        training = FaceTraining(train, replace(FaceRecipe(), seed=seed, epochs=epochs), folder / f"net{seed}.pt")

        def after(epoch: int, terms: dict[str, float], training: FaceTraining = training) -> None:
            scores = face_scores([training.averaged.eval()], valid) if epoch % 3 == 0 else {}
            log.info("net %d epoch %d: %s %s", training.recipe.seed, epoch, terms, scores)

        done.append(training.run(after))
    report = {"recipe": asdict(FaceRecipe()), "nets": nets}
    scores = {"valid": face_scores(done, valid), "test": face_scores(done, test)}
    (folder / "measures.json").write_text(json.dumps(report | scores, indent=1) + "\n")
    typer.echo(json.dumps(scores, indent=1))


def _accuracy(answers: torch.Tensor, truth: NDArray[np.int64], chosen: NDArray[np.bool_]) -> float:
    return round(100 * float((answers.argmax(1).numpy() == truth)[chosen].mean()), 2)


if __name__ == "__main__":
    typer.run(main)
