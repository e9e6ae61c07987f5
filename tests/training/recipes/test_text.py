import numpy as np
import pytest
import torch

from contract.labels import EMOTIONS
from contract.models import EMBEDDING_DIM
from training.data.tokenizer import encode_texts
from training.models.served.text import VOCABULARY, TextEncoder
from training.recipes.text import predict, teacher_embeddings


def test_embeddings_follow_the_teachers_pieces(tokenizer):
    """With our own tokenizer as the teacher's, PCA of the table itself: distances between pieces are kept."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(VOCABULARY, EMBEDDING_DIM, generator=generator)
    ours = teacher_embeddings(tokenizer, tokenizer, table)
    assert ours.shape == (VOCABULARY, EMBEDDING_DIM)
    a, b = torch.cdist(ours[:50], ours[:50]), torch.cdist(table[:50], table[:50])
    torch.testing.assert_close(a / a.max(), b / b.max(), atol=1e-3, rtol=1e-3)


def test_cut_to_the_longest_gives_the_same_answer(tokenizer):
    model = TextEncoder().eval()
    ids, mask = encode_texts(tokenizer, ["a short one", "and one that is a little longer than that"])
    longest = int(mask.sum(dim=1).max())
    full, cut = predict(model, ids, mask), predict(model, ids[:, :longest], mask[:, :longest])
    for a, b in zip(full, cut, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("i love this", 1),
        ("that was wonderful thank you so much", 1),
        ("what a great idea", 1),
        ("this is terrible", -1),
        ("i hate it", -1),
        ("that is the worst thing i have ever seen", -1),
        ("okay", 0),
        ("the meeting is at three", 0),
    ],
)
def test_short_live_utterances_make_sense(text, sign, run, tokenizer):
    ids, mask = (tensor.numpy() for tensor in encode_texts(tokenizer, [text]))
    sentiment = run("text_encoder", {"INPUT_IDS": ids, "ATTENTION_MASK": mask})["SENTIMENT"].item()
    assert abs(sentiment) < 0.4 if sign == 0 else sign * sentiment > 0.2


def test_joy_is_told_from_anger(run, tokenizer):
    ids, mask = (t.numpy() for t in encode_texts(tokenizer, ["i am so happy", "i am so angry with you"]))
    emotion = run("text_encoder", {"INPUT_IDS": ids, "ATTENTION_MASK": mask})["EMOTION"]
    happy, angry = EMOTIONS.index("happy"), EMOTIONS.index("angry")
    assert emotion[0, happy] > emotion[0, angry]
    assert emotion[1, angry] > emotion[1, happy]
    np.testing.assert_allclose(emotion.sum(axis=1), 1, atol=1e-5)
