"""Nets of the task as teachers, out of fold."""

import pytest
import torch
from torch import nn

from training.data.task import Samples
from training.distillation.outputs import Output
from training.models.answer import ScoredHead
from training.models.students.face import ResidualStudent
from training.models.students.text import LstmStudent
from training.teachers.net_recipes import NetRecipe, ScoredRecipe, StreamsRecipe
from training.teachers.trained import out_of_fold_nets, outputs_of, train_net

RECIPE = NetRecipe(epochs=15, learning_rate=1e-2, batch=16)
VALUES = (-1.0, 1.0)


def same(inputs, _):
    return inputs


def faces(count: int) -> Samples:
    generator = torch.Generator().manual_seed(count)
    target = torch.arange(count) % 2
    face = torch.randint(0, 100, (count, 48, 48), generator=generator, dtype=torch.uint8)
    face[target == 1, :, :24] += 100
    return Samples({"face": face}, target, ids=[str(i) for i in range(count)], present=torch.ones(count, 3))


def texts(count: int) -> Samples:
    target = torch.arange(count) % 2
    ids = torch.full((count, 8), 9, dtype=torch.int32)
    ids[:, 2] = 20 + target
    mask = (torch.arange(8) < 4 + torch.arange(count)[:, None] % 3).to(torch.uint8)
    inputs = {"ids": ids, "ids_mask": mask}
    return Samples(inputs, target, ids=[str(i) for i in range(count)], present=torch.ones(count, 3))


def face_net():
    return ResidualStudent(VALUES, (4, 8, 8, 8))


def text_net():
    return LstmStudent(VALUES, width=16)


@pytest.mark.parametrize(("make", "corpus"), [(face_net, faces), (text_net, texts)])
def test_what_a_net_says_of_its_fold_does_not_depend_on_the_fold_s_labels(make, corpus):
    samples = {"train": corpus(64), "valid": corpus(16), "test": corpus(16)}
    fold = torch.arange(64) // 2 % 2
    outputs = out_of_fold_nets(make, samples, fold, same, RECIPE)
    wrong = torch.where(fold == 1, 1 - samples["train"].target, samples["train"].target)
    train = samples["train"]
    deceived = samples | {"train": Samples(train.inputs, wrong, ids=train.ids, present=train.present)}
    other = out_of_fold_nets(make, deceived, fold, same, RECIPE)
    assert torch.equal(outputs["train"].logits[fold == 1], other["train"].logits[fold == 1])
    assert not torch.equal(outputs["train"].logits[fold == 0], other["train"].logits[fold == 0])
    assert (outputs["test"].logits.argmax(1) == samples["test"].target).float().mean() > 0.8
    for name, feature in outputs["train"].features.items():
        assert feature.isfinite().all()
        assert feature.shape[1:] == outputs["test"].features[name].shape[1:]
        mask = outputs["train"].masks.get(name)
        if mask is not None:
            assert not feature[mask == 0].any()


def test_folds_share_the_space_of_the_whole():
    samples = {"train": faces(64), "valid": faces(8), "test": faces(8)}
    outputs = out_of_fold_nets(face_net, samples, torch.arange(64) // 2 % 2, same, RECIPE)
    whole = outputs["test"].features["penultimate"]
    folds = outputs["train"].features["penultimate"]
    centres = [folds[samples["train"].target == k].mean(0) for k in (0, 1)]
    nearest = torch.stack([(whole - centre).norm(dim=1) for centre in centres]).argmin(0)
    assert (nearest == samples["test"].target).float().mean() > 0.8


def test_training_is_seeded_and_leaves_the_caller_s_numbers_alone():
    corpus = faces(32)
    torch.manual_seed(5)
    first = train_net(face_net(), corpus, same, RECIPE)
    torch.manual_seed(5)
    again = train_net(face_net(), corpus, same, RECIPE)
    torch.testing.assert_close(outputs_of(first, corpus.inputs).logits, outputs_of(again, corpus.inputs).logits)
    assert not first.training


def test_outputs_in_parts_are_the_outputs_of_the_whole():
    torch.manual_seed(0)
    net, corpus = text_net().eval(), texts(21)
    parts, whole = (outputs_of(net, corpus.inputs, batch) for batch in (4, 100))
    torch.testing.assert_close(parts.logits, whole.logits)
    assert parts.features["h2"].dtype == torch.float16
    assert torch.equal(parts.masks["h1"], whole.masks["h1"])


class Listener(nn.Module):
    """Reads utterances, and refuses a part of a conversation."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.state, self.alone, self.head = nn.Linear(4, width), nn.Linear(width, 2), ScoredHead(width, VALUES)

    def forward(self, inputs):
        conversation, turns = inputs["conversation"], inputs["turns"]
        assert (torch.bincount(conversation)[conversation] == turns).all()
        present = inputs["present"]
        state = self.state(inputs["text"]).tanh() * present[:, 2:]
        logits, score = self.head(state)
        features = {"text": state, "text.logits": self.alone(state), "penultimate": state}
        return Output(logits, score, features=features, present=present)


def dialogues(count: int, first: int = 0) -> Samples:
    """Conversations of 2 to 4 turns; every seventh utterance has no text."""
    generator = torch.Generator().manual_seed(first)
    lengths = 2 + torch.arange(count) % 3
    unit = (first + torch.arange(count)).repeat_interleave(lengths)
    text = torch.randn(len(unit), 4, generator=generator)
    present = torch.zeros(len(unit), 3)
    present[:, 2] = (torch.arange(len(unit)) % 7 > 0).float()
    score = (text[:, 0] / 2).clamp(-1, 1)
    inputs = {"text": text, "present": present, "conversation": unit, "turns": lengths.repeat_interleave(lengths)}
    return Samples(inputs, (score > 0).long(), score, ids=[str(i) for i in unit.tolist()], present=present, unit=unit)


SCORED = ScoredRecipe(epochs=10, learning_rate=2e-2, batch=5, weight_decay=0.0, smoothing=0.0)


def test_conversations_stay_whole_and_scores_are_learned():
    samples = {"train": dialogues(40), "valid": dialogues(10, 100), "test": dialogues(10, 200)}
    train = samples["train"]
    outputs = out_of_fold_nets(Listener, samples, train.unit % 3, same, SCORED)
    absent = train.present[:, 2] == 0
    assert not outputs["train"].features["text"][absent].any()
    for split in ("train", "test"):
        there = samples[split].present[:, 2] > 0
        assert (outputs[split].score - samples[split].score)[there].abs().mean() < 0.15
        assert torch.equal(outputs[split].present, samples[split].present)
    # Logits have axes of their own: they are what the fold's net says, not turned.
    unseen = train.unit % 3 == 1
    torch.manual_seed(SCORED.seed)
    kept = train.take(torch.nonzero(~unseen)[:, 0])
    net = train_net(Listener(), kept, same, SCORED, samples["valid"])
    own = outputs_of(net, train.inputs, unit=train.unit)
    torch.testing.assert_close(outputs["train"].features["text.logits"][unseen], own.features["text.logits"][unseen])
    torch.testing.assert_close(outputs["train"].score[unseen], own.score[unseen])


def test_the_epoch_with_the_least_loss_on_valid_is_kept():
    train, valid = dialogues(6), dialogues(12, 100)
    train.target[:] = 1 - train.target  # So what it learns is wrong, more so with every epoch.

    def loss_after(epochs, judge):
        torch.manual_seed(3)
        net = train_net(Listener(), train, same, ScoredRecipe(epochs=epochs, learning_rate=1e-2, batch=3), judge)
        return SCORED.loss(outputs_of(net, valid.inputs, unit=valid.unit), valid.target, valid.score)

    assert loss_after(12, valid) < loss_after(12, None)


def test_the_loss_of_scores():
    output = Output(torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([0.5, -0.25]))
    target, score = torch.tensor([1, 0]), torch.tensor([1.0, -0.5])
    plain = NetRecipe(epochs=1, smoothing=0.0).loss(output, target, score)
    scored = ScoredRecipe(epochs=1, smoothing=0.0, score=2.0).loss(output, target, score)
    assert scored - plain == pytest.approx(2 * (0.25 + 0.0625) / 2)


def test_the_loss_of_modalities_that_answer_alone():
    torch.manual_seed(0)
    logits, audio, video, text = (torch.randn(4, 2, dtype=torch.float64, requires_grad=True) for _ in range(4))
    target, score = torch.tensor([0, 1, 1, 0]), torch.zeros(4, dtype=torch.float64)
    present = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    features = {"penultimate": torch.randn(4, 8), "audio.logits": audio, "video.logits": video, "text.logits": text}
    output = Output(logits, torch.zeros(4, dtype=torch.float64), features=features, present=present)
    recipe = StreamsRecipe(epochs=1, smoothing=0.0, alone=0.5)

    def entropy(x, rows):
        return -sum(x[i].log_softmax(-1)[target[i]] for i in rows) / len(rows)

    loss = recipe.loss(output, target, score)
    alone = (entropy(audio, (0, 1, 3)) + entropy(video, (0, 2, 3))) / 2
    torch.testing.assert_close(loss, entropy(logits, range(4)) + 0.5 * alone)
    loss.backward()
    assert text.grad is None or not text.grad.any(), "no sample has it"
    assert not audio.grad[2].any()
    unimodal = Output(logits, output.score, features={"penultimate": features["penultimate"]})
    torch.testing.assert_close(recipe.loss(unimodal, target, score), entropy(logits, range(4)))
