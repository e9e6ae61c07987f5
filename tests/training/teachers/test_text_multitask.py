import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import MPNetConfig, MPNetModel, PreTrainedTokenizerFast

from contract.labels import EMOTIONS, POLARITIES
from training.data.labelled_texts import LabelledText, one_hot
from training.teachers.text_measures import three_way
from training.teachers.text_multitask import (
    FrozenStates,
    Labels,
    TextRecipe,
    TextTeacher,
    TextTraining,
    epoch_batches,
    restricted_cross_entropy,
    training_views,
)

WORDS = ["<s>", "<pad>", "</s>", "[UNK]", "good", "bad", "film", "a", "the", "very"]
RECIPE = TextRecipe(
    epochs=22, batch=4, learning_rate=3e-3, head_learning_rate=1e-2, frozen_layers=1, recogniser_share=0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny MPNet of words."""
    folder = tmp_path_factory.mktemp("mpnet")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    MPNetModel(MPNetConfig(vocab_size=len(WORDS), **sizes), add_pooling_layer=False).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="[UNK]", cls_token="<s>", sep_token="</s>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def teacher(folder):
    torch.manual_seed(1)
    return TextTeacher(folder, frozen_layers=1)


def labelled(text, polarity, emotion=None, score=None):
    return LabelledText(text, "plain", one_hot(polarity, POLARITIES), emotion and one_hot(emotion, EMOTIONS), score)


TEXTS = [
    labelled("a good film", "positive", "happy", 0.8),
    labelled("the bad film", "negative", score=-0.8),
    labelled("very good", "positive", "happy"),
    labelled("very very bad", "negative", "sad", -0.6),
] * 4


def test_its_own_walk_through_the_layers_is_the_encoder_s(teacher):
    texts = ["a good film", "bad", "the very bad film"]
    tokens = teacher.tokenizer(texts, padding=True, return_tensors="pt")
    states = teacher.encoder(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    expected = (states * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(teacher.describe(texts, batch=2).pooled, expected.detach())


def test_classes_outside_among_are_no_alternative():
    logits = torch.tensor([[1.0, 9.0, 2.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    target = torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [0.0, 0.0, 0.0]])
    among = torch.tensor([[True, False, True], [True] * 3, [False] * 3])
    loss = restricted_cross_entropy(logits, target, among)
    by_hand = np.log(np.exp(1) + np.exp(2)) - 1
    whole = torch.nn.functional.cross_entropy(logits[1:2], target[1:2])
    assert loss.tolist() == pytest.approx([by_hand, float(whole), 0.0], abs=1e-5)


def test_labels_that_are_not_there_are_marked():
    labels = Labels.of([labelled("x", "neutral"), LabelledText("y", "plain", score=0.5)])
    assert labels.polarity_among.any(1).tolist() == [True, False]
    assert labels.emotion_among.any().item() is False
    assert labels.score.isnan().tolist() == [True, False]


def test_it_learns_and_only_the_upper_layers_do(teacher, tmp_path):
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    TextTraining(teacher, TEXTS, RECIPE, tmp_path, tmp_path / "states.f16").run(lambda step, terms: None)
    output = teacher.describe(["a good film", "the bad film"])
    assert output.polarity.argmax(1).tolist() == [2, 0]
    assert output.score[0] > 0 > output.score[1]
    moved = {name for name, value in teacher.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert moved <= set(teacher.learned())


def test_a_training_that_was_stopped_ends_as_one_that_was_not(folder, tmp_path):
    def train(steps, where):
        torch.manual_seed(1)
        training = TextTraining(TextTeacher(folder, 1), TEXTS, RECIPE, where, tmp_path / "states.f16")

        def stop(step, terms):
            if step == steps:
                raise InterruptedError

        try:
            training.run(stop, save_every=4)
        except InterruptedError:
            return None
        return training.teacher.describe(["a good film"]).polarity

    whole = train(None, tmp_path / "whole")
    assert train(8, tmp_path / "cut") is None
    # Dropout draws anew after a stop, so the two agree in what they learned, not in every digit.
    assert train(None, tmp_path / "cut").argmax() == whole.argmax()


def test_frozen_states_are_kept_and_read_again(teacher, tmp_path):
    texts = ["a good film", "bad"]
    fresh = FrozenStates(teacher, texts, tmp_path / "states.f16")
    states, mask = fresh.take([1, 0])
    assert mask.sum(1).tolist() == [3, 5]
    again = FrozenStates(teacher, texts, tmp_path / "states.f16")
    assert again.there.all()
    torch.testing.assert_close(again.take([1, 0])[0], states)
    torch.testing.assert_close(
        states, teacher.lower([again.ids[1], again.ids[0]])[0] * mask[..., None], atol=3e-3, rtol=0
    )


def test_batches_hold_every_text_once_and_similar_lengths():
    texts = [labelled("x" * (1 + i % 40), "neutral") for i in range(101)]
    batches = epoch_batches(texts, 8, epoch=0, seed=0)
    assert sorted(i for batch in batches for i in batch) == list(range(101))
    spread = [max(len(texts[i].text) for i in b) - min(len(texts[i].text) for i in b) for b in batches]
    assert np.mean(spread) < 8
    assert batches == epoch_batches(texts, 8, epoch=0, seed=0) != epoch_batches(texts, 8, epoch=1, seed=0)


def test_a_share_of_the_texts_comes_as_heard():
    views = training_views(["It's GOOD!"] * 200, TextRecipe(recogniser_share=0.4))
    assert 50 < sum(view == "it's good" for view in views) < 110
    assert set(views) - {"it's good", "its good", "is good", "good"} == {"It's GOOD!"}


def test_macro_recall_weighs_classes_alike():
    logits = torch.eye(3)[[0, 0, 0, 0, 2, 2]] * 5
    scores = three_way(logits, np.array([0, 0, 0, 0, 1, 2]), 1.0)
    assert scores["macro_recall"] == pytest.approx(100 * 2 / 3)
    assert (scores["negative_recall"], scores["neutral_recall"]) == (100, 0)
    assert three_way(logits, np.array([0, 0, 0, 0, 1, 2]), 3.0)["ece"] != scores["ece"]
