"""The teacher that hears and sees: what it reads, and that it says of a clip what it could say of a stranger's."""

from dataclasses import replace

import pytest
import torch

from training.data.ravdess import Ravdess
from training.distillation.methods import METHODS
from training.distillation.methods.streams import own_streams
from training.distillation.outputs import Batch, Output
from training.teachers import probed
from training.teachers.audio_visual import AudioVisualRecipe, audio_visual_bank, clips, taught
from training.teachers.cache import SPLITS

RECIPE = AudioVisualRecipe(epochs=10, learning_rate=2e-2, batch=20, width=32)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """For the fixtures of the module too, whose nets are compared to the last bit with nets that the tests train."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def task(tiny, cache):
    return Ravdess(tiny, cache)


@pytest.fixture(scope="module")
def sources(task):
    """Action units, and in the place of a net's vector the spectrum's mean over the clip."""

    def heard():
        logmel = {split: task.samples(split).inputs["logmel"].float() for split in SPLITS}
        return {split: Output(features={"vector": x.mean(1)}) for split, x in logmel.items()}

    units = probed.FeatureSource("units", task._units_key, task._units)
    return {"audio": probed.FeatureSource("spectrum", lambda: {"source": "spectrum"}, heard), "video": units}


@pytest.fixture(scope="module")
def read(task, sources):
    features = {modality: source.features(task.lesson) for modality, source in sources.items()}
    return clips(features, {split: task.samples(split) for split in SPLITS})


@pytest.fixture(scope="module")
def lesson(task):
    """Two folds of actors: fewer nets."""
    return replace(task.lesson, fold=task.lesson.fold % 2)


@pytest.fixture(scope="module")
def outputs(lesson, read):
    return taught(read, lesson, RECIPE)


def test_what_it_reads_is_standardised_by_the_training_clips(task, read):
    for split in SPLITS:
        count = len(task.samples(split))
        assert read[split].inputs["audio"].shape == (count, 48)
        assert read[split].inputs["video"].shape == (count, 35)
        assert read[split].inputs["conversation"].unique().numel() == count, "a clip is a conversation"
        assert torch.equal(read[split].present, torch.tensor([[1.0, 1.0, 0.0]]).repeat(count, 1))
        assert torch.equal(read[split].target, task.samples(split).target)
    train, valid = read["train"].inputs["audio"], read["valid"].inputs["audio"]
    raw = task.samples("train").inputs["logmel"].float().mean(1)
    torch.testing.assert_close(train, ((raw - raw.mean(0)) / raw.std(0)).clamp(-5, 5))
    assert valid.mean(0).abs().max() > 1e-3, "of its own it would be 0"


def test_it_says_what_streams_need(task, outputs):
    for split in SPLITS:
        count, said = len(task.samples(split)), outputs[split]
        shapes = {name: tuple(feature.shape) for name, feature in said.features.items()}
        assert shapes == {
            "audio": (count, 64),
            "video": (count, 64),
            "audio.logits": (count, 7),
            "video.logits": (count, 7),
            "penultimate": (count, 32),
        }
        assert torch.equal(said.present[:, :2], torch.ones(count, 2))
        assert not said.present[:, 2].any()
        assert (said.logits.argmax(1) == task.samples(split).target).float().mean() > 0.5, "of one in four"
        assert said.score.abs().max() <= 1


def test_no_output_of_a_clip_comes_from_a_net_that_saw_its_actor(lesson, read, outputs):
    train = read["train"]
    actor = train.groups["speaker"] == 1
    assert len(lesson.fold[actor].unique()) == 1
    wrong = torch.where(actor, (train.target + 1) % 7, train.target)
    deceived = taught(read | {"train": replace(train, target=wrong)}, lesson, RECIPE)["train"]
    honest = outputs["train"]
    assert torch.equal(honest.logits[actor], deceived.logits[actor])
    assert torch.equal(honest.score[actor], deceived.score[actor])
    for name in ("audio.logits", "video.logits"):
        assert torch.equal(honest.features[name][actor], deceived.features[name][actor])
    others = lesson.fold != lesson.fold[actor][0]
    assert not torch.equal(honest.logits[others], deceived.logits[others])
    # Features are turned onto those of the net that saw all, which moves them and keeps how far apart they are.
    for name in ("audio", "video", "penultimate"):
        own, other = (said.features[name][actor] for said in (honest, deceived))
        torch.testing.assert_close(torch.cdist(own, own), torch.cdist(other, other), atol=1e-4, rtol=1e-4)


def test_a_second_run_reads_what_the_first_kept(task, sources, lesson):
    recipe = replace(RECIPE, epochs=1)
    bank = audio_visual_bank("both", sources, task.samples, lambda: lesson, recipe)
    first = bank.outputs("train")

    def never():
        raise AssertionError("computed again")

    kept = {modality: replace(source, compute=never) for modality, source in sources.items()}
    again = audio_visual_bank("both", kept, task.samples, lambda: lesson, recipe).outputs("train")
    assert torch.equal(first.logits, again.logits)
    other = audio_visual_bank("both", kept, task.samples, lambda: lesson, replace(recipe, seed=1))
    assert not torch.equal(first.logits, other.outputs("train").logits), "other nets over the same features"


@pytest.mark.parametrize("name", ["cmd", "graph", "hypergraph"])
def test_it_teaches_a_student_that_only_hears(task, outputs, name):
    rows = torch.arange(0, 120, 10)
    samples = task.samples("train").take(rows)
    student = task.student("gru")(task.augment(samples.inputs, torch.Generator().manual_seed(0)))
    assert tuple(own_streams(student)) == ("fused",), "its one stream is what it hears"
    told = outputs["train"]
    teacher = Output(
        told.logits[rows],
        told.score[rows],
        features={layer: feature[rows] for layer, feature in told.features.items()},
        present=told.present[rows],
    )
    torch.manual_seed(0)
    method = METHODS[name]()
    method.build(student, {"audio_visual": teacher})
    terms = method(student, {"audio_visual": teacher}, Batch(target=samples.target, total_steps=10))
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    gradients = {layer: parameter.grad for layer, parameter in method.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    edges = {edge.partition(">")[0] for edge in method.edge_weights()}
    streams = {f"audio_visual.{stream}" for stream in ("audio", "video", "fused")}
    assert (
        edges
        == {
            "cmd": set(),
            "graph": streams,
            "hypergraph": {"utterance", *(f"{stream}.context" for stream in streams)},
        }[name]
    )
