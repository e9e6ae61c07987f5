"""`python -m training.teachers.voice_run`: the voice teacher's features, cross-validated nets, outputs and measures."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from sklearn.metrics import recall_score
from torch import Tensor

from training.data.degraded_audio import VIEWS
from training.data.folder import data_root
from training.data.speech_clips import AMONG, CLASSES, SpeechClip, load_speech, speaker_folds
from training.teachers.fetch import fetch_teacher
from training.teachers.voice_features import ClipStates, clip_states
from training.teachers.voice_teacher import (
    VoiceData,
    VoiceNet,
    VoiceRecipe,
    eight_of,
    seven_of,
    train_voice,
    voice_outputs,
)
from training.teachers.whisper import WhisperFeatures

log = logging.getLogger(__name__)

ENCODERS: Final = {"whisper-base": "whisper_base", "whisper-tiny.en": "whisper"}
"""Names of the encoders, and what training.teachers.fetch calls them."""
FIRST_LAYER: Final = 2
FOLDS: Final = 5


def read_voice_data(root: Path, weights: Path, folder: Path, views: Sequence[str] = tuple(VIEWS)) -> VoiceData:
    """Return all clips with both encoders' states, computed into `folder` where they are not there yet."""
    clips = load_speech(root)

    def states(name: str, what: str) -> ClipStates:
        return clip_states(
            lambda: WhisperFeatures(fetch_teacher(ENCODERS[name], weights)), name, FIRST_LAYER, clips, what, folder
        )

    return VoiceData(clips, [{what: states(name, what) for what in views} for name in ENCODERS])


def cross_validate(
    data: VoiceData, recipe: VoiceRecipe, seeds: int, folder: Path, folds: int = FOLDS
) -> dict[str, Tensor]:
    """Train `seeds` nets a fold over the training speakers; nets that are in `folder` already are read.

    Returns:
        For each view log-probabilities over CLASSES [N, 9]: of a training clip by the nets that never heard its
        speaker, of a valid or test clip by all of them.
    """
    training = np.flatnonzero([clip.part == "train" for clip in data.clips])
    held = np.flatnonzero([clip.part != "train" for clip in data.clips])
    fold = np.array(speaker_folds([data.clips[i] for i in training], folds))
    answers = {view: torch.zeros(len(data.clips), len(CLASSES)) for view in data.views}
    for k in range(folds):
        rows = training[fold != k]
        nets = [_net(data, rows, recipe, 1000 * k + s, folder / f"fold{k}-seed{s}.pt") for s in range(seeds)]
        own = training[fold == k]
        for view in data.views:
            answers[view][own] = voice_outputs(nets, data, own.tolist(), view)[0]
            answers[view][held] += voice_outputs(nets, data, held.tolist(), view)[0] / folds
        log.info("fold %d: %s", k, voice_scores(answers["clean"][own], [data.clips[i] for i in own], "train"))
    return answers


def voice_scores(answers: Tensor, clips: Sequence[SpeechClip], part: str) -> dict[str, float]:
    """Return the accuracies and unweighted average recalls (per cent) of RAVDESS' clips of one part, by gender too.

    Args:
        answers: log-probabilities over CLASSES [N, 9].
        clips: N of them.
        part: train, valid or test; with `train` come the other corpora.
    """
    scores: dict[str, float] = {}
    for gender in ("", "female", "male"):
        chosen = [c.corpus == "ravdess" and c.part == part and gender in ("", c.gender) for c in clips]
        if any(chosen):
            seven, truth = seven_of(answers[chosen]).argmax(1).numpy(), _truth(clips, chosen)
            calm = np.where(truth == CLASSES.index("calm"), CLASSES.index("neutral"), truth)
            scores[f"seven{gender and '_' + gender}"] = _accuracy(seven, calm)
            if not gender:
                eight = eight_of(answers[chosen]).argmax(1).numpy()
                scores |= {
                    "seven_uar": _uar(seven, calm),
                    "eight": _accuracy(eight, truth),
                    "eight_uar": _uar(eight, truth),
                }
    for corpus in ("emodb", "urdu") if part == "train" else ():
        chosen = [clip.corpus == corpus for clip in clips]
        if any(chosen):
            among = torch.tensor([name in AMONG[corpus] for name in CLASSES])
            own = answers[chosen].masked_fill(~among, float("-inf")).argmax(1).numpy()
            scores |= {corpus: _accuracy(own, _truth(clips, chosen)), f"{corpus}_uar": _uar(own, _truth(clips, chosen))}
    return {name: round(value, 2) for name, value in scores.items()}


def main(
    cache: Path,
    data: Annotated[Path | None, typer.Option()] = None,
    weights: Annotated[Path | None, typer.Option(help="Fetched weights; `cache`/weights, if not given.")] = None,
    seeds: int = 3,
    threads: int = 1,
) -> None:
    """Train the voice teacher into CACHE/voice, beside its features."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    folder = cache / "voice"
    folder.mkdir(parents=True, exist_ok=True)
    voice = read_voice_data(data_root(data), weights or cache / "weights", cache / "voice-features")
    recipe = VoiceRecipe()
    answers = cross_validate(voice, recipe, seeds, folder)
    measures = {
        view: {part: voice_scores(own, voice.clips, part) for part in ("train", "valid", "test")}
        for view, own in answers.items()
    }
    torch.save({"clips": [c.path.name for c in voice.clips], "log_probabilities": answers}, folder / "outputs.pt")
    report = {"recipe": asdict(recipe), "seeds": seeds, "folds": FOLDS, "views": measures}
    (folder / "measures.json").write_text(json.dumps(report, indent=1) + "\n")
    typer.echo(json.dumps(measures["clean"], indent=1))


def _net(data: VoiceData, rows: NDArray[np.int64], recipe: VoiceRecipe, seed: int, file: Path) -> VoiceNet:
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(train_voice(data, rows.tolist(), recipe, seed).state_dict(), file)
    net = VoiceNet(data.shapes, recipe)
    net.load_state_dict(torch.load(file, weights_only=True))
    return net.eval()


def _truth(clips: Sequence[SpeechClip], chosen: Sequence[bool]) -> NDArray[np.int64]:
    return np.array([CLASSES.index(clip.emotion) for clip, own in zip(clips, chosen, strict=True) if own])


def _accuracy(predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return 100 * float((predicted == truth).mean())


def _uar(predicted: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return 100 * float(recall_score(truth, predicted, average="macro", zero_division=0))


if __name__ == "__main__":
    typer.run(main)
