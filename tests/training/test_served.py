"""The served students on the one road: trained by the trainer, exported as a version, composed into a window."""

import shutil

import pytest
import torch

from contract.labels import EMOTIONS
from tests.training.served_toys import TOYS
from training.data.exported import versions
from training.data.served.audio_encoder import prepared
from training.data.served.base import require_emotions
from training.distillation import Batch, Example, Output
from training.engine.recipe import recipe_of
from training.engine.trainer import STUDENT, distil
from training.export.versions import ExportError, _check_fit, export_run, recompose, start_repository
from training.models.served.heads import EmotionHead


@pytest.fixture
def copy(tmp_path, repository):
    out = tmp_path / "repository"
    start_repository(repository, out)
    return out


def run(task, folder, **settings):
    table = {"task": task.name, "budget": {"steps": 3, "batch": 16}, **settings}
    return distil(recipe_of(table), task, folder)


KD = {"teachers": ["good"], "methods": [{"name": "kd"}, {"name": "fitnet"}]}


@pytest.mark.parametrize("name", sorted(TOYS))
def test_every_served_student_learns_goes_on_and_is_calibrated(name, tmp_path):
    task = TOYS[name]()
    report = run(task, tmp_path, **KD)
    assert report["steps"] == 3
    state = torch.load(tmp_path / STUDENT, weights_only=True)
    temperature = next(tensor for key, tensor in state.items() if key.endswith("temperature"))
    assert bool((temperature != 1).any())


def test_a_run_becomes_the_next_version_and_the_window_follows(tmp_path, copy):
    task = TOYS["text_encoder"]()
    run(task, tmp_path / "run", **KD)
    exported = export_run(tmp_path / "run", task, copy)
    assert (exported.model, exported.version) == ("text_encoder", 2)
    assert exported.difference <= 1e-4
    assert "fusion.toml" in exported.note
    assert recompose(copy).version == 2
    card = (copy / "text_encoder/2/model_card.md").read_text()
    assert "good" in card
    assert "kd" in card
    assert versions(copy, "text_encoder") == versions(copy, "window") == [1, 2]


def test_a_student_that_is_not_served_is_refused(tmp_path, repository):
    task = TOYS["text_encoder"]()
    run(task, tmp_path)
    task.student = lambda _: torch.nn.Linear(2, 2)
    with pytest.raises(ExportError, match="no served model"):
        export_run(tmp_path, task, repository)


def test_a_text_student_of_another_tokenizer_is_refused(tmp_path, copy):
    task = TOYS["text_encoder"]()
    task.tokenizer_file = tmp_path / "tokenizer.json"
    task.tokenizer_file.write_text("{}")
    with pytest.raises(ExportError, match="is another one"):
        _check_fit(tmp_path, task, copy)


def test_a_copied_repository_holds_the_newest_version_alone(tmp_path, copy):
    shutil.copytree(copy / "fusion/1", copy / "fusion/7")
    start_repository(copy, tmp_path / "second")
    assert versions(tmp_path / "second", "fusion") == [7]


def test_a_head_of_three_answers_with_seven():
    head = EmotionHead(8, labels=("happy", "sad", "neutral"))
    logits, _ = head(torch.randn(5, 8))
    probabilities = head.probabilities(logits)
    assert logits.shape == (5, 3)
    assert torch.allclose(probabilities.sum(1), torch.ones(5))
    known = torch.tensor([name in ("happy", "sad", "neutral") for name in EMOTIONS])
    assert bool((probabilities[:, ~known] == 0).all())
    assert torch.equal(probabilities[:, EMOTIONS.index("sad")], logits.softmax(1)[:, 1])


def test_labels_that_no_served_head_has_are_named():
    with pytest.raises(ValueError, match="bored"):
        require_emotions("folder_text", ("bored", "happy"))


def test_a_stretch_of_audio_comes_with_the_same_stretch_of_its_teachers():
    task = TOYS["audio_encoder"]()
    samples = task.samples("train")
    slots = samples.inputs["pcm"].shape[1] // 1600
    ramp = torch.arange(slots).float().repeat(len(samples), 1)
    teacher = Output(features={"h1": ramp.unsqueeze(-1)})
    pcm = (ramp.repeat_interleave(1600, 1) * 100).short()
    index = torch.arange(len(samples))
    example = Example({"pcm": pcm, "slots": samples.inputs["slots"]}, Batch(index=index), {"t": teacher})
    cut = prepared(example, torch.Generator().manual_seed(0))
    heard, there = cut.teachers["t"].features["h1"].squeeze(-1), cut.teachers["t"].masks["h1"] > 0
    assert cut.inputs["pcm"].shape == (len(samples), 24_000)
    assert bool((heard.diff(dim=1)[there[:, 1:] & there[:, :-1]] == 1).all())
    middles = cut.inputs["pcm"].view(len(samples), 15, 1600).mean(2)
    quiet = ~there
    assert float(middles[quiet].abs().max()) < 0.05
    assert bool((heard[quiet] == 0).all())
