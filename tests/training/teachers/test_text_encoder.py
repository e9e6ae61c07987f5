import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from training.teachers.fetch import TeacherError
from training.teachers.text_encoder import (
    FrozenText,
    Sentences,
    TunedEncoder,
    TuningRecipe,
    encoder_key,
    label,
    shared_letters,
    tune_out_of_fold,
)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "a", "the"]
RECIPE = TuningRecipe(epochs=6, learning_rate=3e-3, batch=8, frozen=0.0, folds=2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny BERT of words."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return str(folder)


def sentences(texts: list[str], target: list[int]) -> Sentences:
    spans = []
    for text in texts:
        ends = [i for i, letter in enumerate(text) if letter == " "] + [len(text)]
        starts = [0, *(end + 1 for end in ends[:-1])]
        spans.append([(0, 0), *zip(starts, ends, strict=True), (0, 0)])
    return Sentences(texts, spans, 6, torch.tensor(target))


TRAIN = sentences(["a good film", "the bad film", "good", "bad"] * 8, [1, 0, 1, 0] * 8)
HELD_OUT = sentences(["the good film", "a bad film"], [1, 0])


def test_pieces_take_the_tokens_with_which_they_share_letters():
    own = [[(0, 0), (0, 4), (5, 9), (0, 0)]]
    offsets = torch.tensor([[[0, 0], [0, 2], [2, 4], [5, 12], [0, 0], [0, 0]]])
    weights = shared_letters(own, offsets, torch.tensor([[1, 1, 1, 1, 1, 0]]), 5)
    expected = torch.zeros(5, 6)
    expected[0, 0] = expected[2, 3] = expected[3, 4] = 1.0
    expected[1, 1] = expected[1, 2] = 0.5
    torch.testing.assert_close(weights[0], expected)


def test_states_do_not_depend_on_the_batch(encoder):
    torch.manual_seed(0)
    net = TunedEncoder(encoder, 2)
    together = label(net, TRAIN, batch=7)
    alone = label(net, sentences(["bad"], [0]))
    torch.testing.assert_close(together.logits[3], alone.logits[0], atol=1e-5, rtol=1e-5)
    assert together.masks["h1"][0].tolist() == [1, 1, 1, 1, 1, 0]
    assert together.masks["h2"][2].tolist() == [1, 1, 1, 0, 0, 0]
    assert not together.features["h2"][2, 3:].any()


def test_tuning_is_out_of_fold(encoder):
    fold = torch.arange(32) // 4 % 2
    parts = {"train": TRAIN, "valid": HELD_OUT, "test": HELD_OUT}
    outputs = tune_out_of_fold(encoder, parts, fold, 2, RECIPE)
    assert (outputs["valid"].logits.argmax(1) == HELD_OUT.target).all()
    assert (outputs["train"].logits.argmax(1) == TRAIN.target).float().mean() > 0.9
    wrong = torch.where(fold == 1, 1 - TRAIN.target, TRAIN.target)
    deceived = tune_out_of_fold(
        encoder, parts | {"train": Sentences(TRAIN.texts, TRAIN.spans, 6, wrong)}, fold, 2, RECIPE
    )
    assert torch.equal(outputs["train"].logits[fold == 1], deceived["train"].logits[fold == 1])
    assert not torch.equal(outputs["train"].logits[fold == 0], deceived["train"].logits[fold == 0])


def test_the_lowest_layers_can_be_frozen(encoder):
    net = TunedEncoder(encoder, 2)
    net.freeze(0.5)
    trained = {name.split(".")[3] for name, p in net.named_parameters() if "layer." in name and p.requires_grad}
    assert trained == {"1"}
    assert not net.encoder.get_input_embeddings().weight.requires_grad


def test_frozen_texts(encoder):
    vectors = FrozenText(encoder).describe(["a film", "", "good"])
    assert vectors.shape == (3, 16)
    assert not vectors[1].any()
    torch.testing.assert_close(vectors[2], FrozenText(encoder).describe(["good"])[0])


def test_keys_and_errors(encoder, tmp_path, monkeypatch):
    assert encoder_key(encoder) == encoder_key(encoder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TeacherError, match="no Hugging Face text encoder at"):
        TunedEncoder(str(tmp_path), 2)
