import numpy as np
import pytest
import torch

from contract.labels import EMOTIONS, POLARITIES
from contract.timing import AUDIO_SLOTS, VIDEO_SLOTS
from training.data.composed import SUBSETS, Bank, Composed, FaceBank, Mixing, drop_modalities, wrong_share

D, TEXT = 4, 64


def bank(slots: int, offset: float, items: int = 70) -> Bank:
    """Tokens say which emotion they belong to."""
    emotion = np.arange(items) % len(EMOTIONS)
    tokens = torch.from_numpy(emotion + offset)[:, None, None].expand(-1, slots, D).half()
    return Bank(tokens, torch.ones(items, slots), emotion, np.zeros(items, dtype=np.float32))


@pytest.fixture
def composed() -> Composed:
    faces = FaceBank(torch.arange(70).remainder(7)[:, None].expand(-1, D).half() + 100, np.arange(70) % 7)
    rated = Bank(
        torch.full((5, TEXT, D), 500.0), torch.ones(5, TEXT), np.full(5, -1), np.full(5, 0.5, dtype=np.float32)
    )
    return Composed(bank(AUDIO_SLOTS, 0), faces, bank(TEXT, 200), rated, torch.full((3, AUDIO_SLOTS, D), 900.0))


def test_plain_windows_agree_in_emotion(composed):
    windows = composed.draw(50, np.random.default_rng(0))
    for tokens, offset in zip(windows.embeddings, (0, 100, 200), strict=True):
        assert torch.equal(tokens[:, -1, 0], windows.emotion + float(offset))
    assert [tokens.shape[1] for tokens in windows.embeddings] == [AUDIO_SLOTS, VIDEO_SLOTS, TEXT]
    assert windows.masks[1][:, -1].all(), "the newest face slot is the last, and there"
    assert set(windows.emotion.tolist()) == set(range(7))
    assert [POLARITIES[p] for p, e in zip(windows.polarity, windows.emotion, strict=True) if EMOTIONS[e] == "happy"]


def test_wrong_windows_are_as_frequent_as_said(composed):
    windows = composed.draw(3000, np.random.default_rng(0), Mixing(wrong=(0.0, 0.7, 0.0)))
    wrong = (windows.embeddings[1][:, -1, 0] - 100 != windows.emotion).float().mean()
    assert float(wrong) == pytest.approx(0.7 * 6 / 7, abs=0.03)
    assert torch.equal(windows.embeddings[0][:, -1, 0], windows.emotion.float())


def test_rated_and_quiet_windows(composed):
    windows = composed.draw(400, np.random.default_rng(0), Mixing(quiet=0.5, rated=0.3))
    rated = windows.emotion == -1
    assert 0.2 < float(rated.float().mean()) < 0.4
    assert not windows.masks[0][rated].any()
    assert not windows.masks[1][rated].any()
    assert (windows.sentiment[rated] == 0.5).all()
    assert (windows.polarity[rated] == POLARITIES.index("positive")).all()
    assert 0.4 < float((windows.embeddings[0][:, 0, 0] == 900).float().mean()) < 0.6
    assert not (composed.audio.tokens == 900).any(), "the bank itself stays as it is"


def test_dropping_gives_all_subsets_and_never_none(composed):
    windows = drop_modalities(composed.draw(600, np.random.default_rng(0), Mixing(rated=0.3)), np.random.default_rng(1))
    present = torch.stack([mask.amax(dim=1) for mask in windows.masks], dim=1)
    assert len(torch.unique(present, dim=0)) == len(SUBSETS)
    assert present.any(dim=1).all()


@pytest.mark.parametrize("subset", SUBSETS)
def test_only(subset, composed):
    windows = composed.draw(5, np.random.default_rng(0)).only(subset)
    assert [bool(mask.any()) for mask in windows.masks] == [letter != "-" for letter in subset]


def test_wrong_share():
    share = wrong_share(0.8, 0.5)
    assert 0.8 * (1 - share) + share / 7 == pytest.approx(0.5)
    assert wrong_share(0.5, 0.6) == 0


def test_an_emotion_that_is_not_there_is_named(composed):
    empty = Composed(bank(AUDIO_SLOTS, 0, items=3), composed.faces, composed.text)
    with pytest.raises(ValueError, match="no item with emotion"):
        empty.draw(50, np.random.default_rng(0))
