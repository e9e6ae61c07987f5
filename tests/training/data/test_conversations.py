"""Tasks of conversations, on a tiny MOSI whose features are its sentiments and noise."""

import csv

import numpy as np
import pytest
import torch

from contract.labels import EMOTIONS, MODALITIES, VALENCE
from training.data.composed_vectors import _windows
from training.data.conversations import FOLDS, LIMIT, LOOKAHEAD, Scale, numbered
from training.data.folder import DataMissingError
from training.data.meld import Meld, MeldEmotion
from training.data.mosi import MosiPublished
from training.data.task import RECORDING, Samples
from training.teachers.conversation_teachers import scores
from training.teachers.net_recipes import ScoredRecipe
from training.teachers.opinions import OpinionEncoder

HEADER = ["row", "segment_id", "video_id", "segment", "bclstm_split", "label_binary", "sentiment", "text"]
WIDTHS = {"audio": 5, "video": 4, "text": 6}
SPLITS = ("train", "valid", "test")


class Tiny(MosiPublished):
    """Small and quickly taught."""

    teaching = ScoredRecipe(epochs=30, batch=4, learning_rate=1e-2)
    teacher_width = 16


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    root = tmp_path_factory.mktemp("mosi")
    rng = np.random.default_rng(0)
    rows, features = [], {name: [] for name in WIDTHS}
    for video in range(40):
        for number in range(1, 3 + video % 4):
            sentiment = round(float(rng.uniform(-3, 3)), 1)
            split = "train" if video < 34 else "test"
            name = f"v{video:02}"
            label = int(sentiment >= 0)
            rows.append([len(rows), f"{name}_{number}", name, number, split, label, sentiment, "SAID SO"])
            for modality, width in WIDTHS.items():
                x = rng.normal(size=width)
                x[0] = 3 * sentiment + rng.normal()
                features[modality].append(x)
    folder = root / "mosi_bclstm"
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    ids = np.array([row[1] for row in rows])
    arrays = {name: np.array(x, dtype=np.float32) for name, x in features.items()}
    np.savez(folder / "mosi_utterance_features.npz", segment_id=ids, **arrays)
    return Tiny(root, root / "cache")


def test_splits_are_whole_videos_in_order(task):
    seen = set()
    for split in SPLITS:
        samples = task.samples(split)
        videos = [name.rsplit("_", 1)[0] for name in samples.ids]
        assert samples.unit.tolist() == numbered(videos).tolist()
        assert samples.unit.diff().min() >= 0, "the utterances of a video stand together"
        assert torch.equal(samples.inputs["conversation"], samples.unit)
        assert not seen & set(videos)
        seen |= set(videos)
        assert torch.equal(samples.target, (samples.score >= 0).long())
        assert samples.present.all()
    assert task.widths == WIDTHS


def test_inputs_are_standardised_by_the_training_part(task):
    x = task.samples("train").inputs["audio"]
    torch.testing.assert_close(x.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(5), atol=1e-4, rtol=0)
    assert task.samples("test").inputs["audio"].mean(0).abs().max() > 1e-3


def test_a_scale_cuts_off_and_leaves_no_constant():
    scale = Scale.of(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    assert scale(torch.tensor([[7.0, 1e6]])).tolist() == [[0.0, LIMIT]]


def test_a_video_is_in_one_fold(task):
    unit, fold = task.samples("train").unit, task.fold
    assert all(len(fold[unit == video].unique()) == 1 for video in unit.unique())
    assert fold.unique().tolist() == list(range(FOLDS))


@pytest.mark.parametrize("name", [*MosiPublished.small_names, *MosiPublished.net_names])
def test_students_give_what_the_methods_read(task, name):
    torch.manual_seed(0)
    samples = task.samples("valid")
    output = task.student(name).eval()(samples.inputs)
    assert output.logits.shape == (len(samples), 2)
    assert output.score.shape == (len(samples),)
    assert list(output.features)[-1] == "penultimate"
    assert {f"{modality}.logits" for modality in WIDTHS} < set(output.features)


@pytest.mark.parametrize(("name", "ahead"), LOOKAHEAD.items())
def test_a_student_looks_so_far_ahead_and_no_farther(task, name, ahead):
    torch.manual_seed(0)
    student = task.student(name).eval()
    for weights in student.ahead.parameters():
        torch.nn.init.normal_(weights)  # They begin at 0.
    inputs = {key: x.clone() for key, x in task.samples("train").inputs.items()}
    size = torch.bincount(inputs["conversation"])
    last = int(size.argmax()), int(size.max()) - 1
    rows = torch.nonzero(inputs["conversation"] == last[0])[:, 0]
    before = student(inputs).logits[rows]
    inputs["audio"][rows[-1]] += 1.0
    changed = (student(inputs).logits[rows] != before).any(1)
    assert changed.tolist() == [last[1] - place <= ahead for place in range(last[1] + 1)]


def test_a_teacher_says_of_training_videos_what_it_says_of_new_ones(task):
    """Out of fold: on `train` no better than on other videos, by much; and both far above chance."""
    outputs = {split: task.teacher("bc_lstm").outputs(split) for split in SPLITS}
    right = {s: (o.logits.argmax(1) == task.samples(s).target).float().mean() for s, o in outputs.items()}
    assert right["test"] > 0.7
    assert right["train"] < right["test"] + 0.2
    again = MosiPublished.teacher(task, "bc_lstm").outputs("test")
    assert torch.equal(again.logits, outputs["test"].logits), "read, not computed again"


def test_unknown_names_are_answered(task):
    with pytest.raises(ValueError, match="no student 'casual': did you mean 'causal'"):
        task.student("casual")
    with pytest.raises(ValueError, match="no teacher 'mullt': did you mean 'mult'"):
        task.teacher("mullt")


def test_missing_data_is_named(tmp_path):
    with pytest.raises(DataMissingError, match="mosi_bclstm"):
        MosiPublished(tmp_path).samples("train")


def test_windows_are_of_one_emotion():
    labels = np.tile(np.arange(len(EMOTIONS)), 3)
    vectors = torch.from_numpy(labels).float().unsqueeze(1)
    texts = [EMOTIONS[label] for label in labels]
    made = _windows({name: (vectors + 10 * i, labels) for i, name in enumerate(WIDTHS)}, texts, "valid")
    assert made.texts == [EMOTIONS[emotion] for emotion in made.target.tolist()]
    for i, name in enumerate(WIDTHS):
        assert torch.equal(made.features[name][:, 0] - 10 * i, made.target.float())
    counts = torch.bincount(made.target)
    assert counts.max() - counts.min() <= 1
    assert len(set(made.conversation)) == len(made.ids)


def test_meld_is_read_by_a_tuned_encoder(weights, tmp_path):
    """Tuned once, on other corpora; what an utterance is turned into depends on its words alone."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "teachers").symlink_to(weights("minilm"))
    sentences = [("sst_fine", "train", "4", "a lovely film"), ("sst_fine", "train", "0", "dull and cold")]
    write(tmp_path / "sst_mr/sentences.csv", ["dataset", "split", "label", "text"], sentences)
    write(
        tmp_path / "vader_snippets/ratings.csv", ["mean_rating_-4_4", "text"], [("3.1", f"good {i}") for i in range(40)]
    )
    header = ["split", "emotion", "sentiment", "text", "dialogue_id", "utterance_id", "speaker"]
    said = [
        (split, "joy", "positive", text, str(dialogue), str(turn), "Joey")
        for split in ("train", "dev", "test")
        for dialogue in (0, 1)
        for turn, text in enumerate(("Great!", f"No, {dialogue}.", "Great!"))
    ]
    write(tmp_path / "meld_text/utterances.csv", header, said)
    task = Meld(tmp_path, cache)
    inputs = task.samples("test").inputs
    assert inputs["text"].shape == (6, 385)
    assert torch.equal(inputs["text"][0], inputs["text"][2])
    assert not torch.equal(inputs["text"][1], inputs["text"][4])
    assert inputs["conversation"].tolist() == [0, 0, 0, 1, 1, 1]
    felt = MeldEmotion(tmp_path, cache).samples("test")
    assert torch.equal(felt.inputs["text"], inputs["text"])
    assert {EMOTIONS[label] for label in felt.target.tolist()} == {"happy"}
    assert felt.score.tolist() == pytest.approx([VALENCE["happy"]] * 6)
    (kept,) = (cache / "tuned").iterdir()
    before = kept.stat().st_mtime_ns
    OpinionEncoder(tmp_path, cache).describe(["once more"])
    assert kept.stat().st_mtime_ns == before


def write(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def test_teachers_are_measured_seed_by_seed(task):
    found = scores(task, ("gated", "bc_lstm"), (0, 1))
    assert list(found) == ["gated", "bc_lstm", "ensemble"]
    assert found["gated"]["parameters"] == sum(p.numel() for p in task.student("gated").parameters())
    again = scores(task, ("gated",), (1,))
    assert again["gated"]["mae"] == found["gated"]["mae"][1:], "a seed gives the same net, whatever was trained before"
    assert "ensemble" not in again


@pytest.mark.parametrize("widths", [{"audio": 73, "text": 385}, {"audio": 73, "video": 100, "text": 100}])
def test_students_have_at_most_a_tenth_of_the_parameters_of_every_teacher(tmp_path, widths):
    task = MosiPublished(tmp_path)
    task.widths = widths  # In the place of those of the corpus.

    def count(name):
        return sum(parameter.numel() for parameter in task.student(name).parameters())

    smallest = min(count(name) for name in task.net_names)
    for name in ("default", *LOOKAHEAD):
        assert 10 * count(name) <= smallest
    assert 4 * count("bottleneck") <= smallest


def test_what_of_a_window_is_shared_is_its_recording():
    rng = np.random.default_rng(0)
    sources = {name: (torch.from_numpy(rng.normal(size=(40, 3))), np.arange(40) % len(EMOTIONS)) for name in MODALITIES}
    part = _windows(sources, [""] * 40, "valid")
    recording = part.groups[RECORDING]
    torch.testing.assert_close(part.features["audio"], sources["audio"][0][recording])
    assert len(set(part.conversation)) == len(part.ids) > len(recording.unique())
    samples = Samples({}, present=torch.ones(len(part.ids), 3), groups=part.groups, unit=numbered(part.conversation))
    assert torch.equal(samples.cluster, recording)
    assert torch.equal(Samples({}, present=samples.present, unit=samples.unit).cluster, samples.unit)
    assert torch.equal(Samples({}, present=samples.present).cluster, torch.arange(len(part.ids)))
