import numpy as np
import pytest
import torch

from contract.labels import EMOTIONS
from contract.models import EMBEDDING_DIM
from contract.timing import AUDIO_SLOTS
from training.data.composed import SUBSETS, Bank, Composed, FaceBank, drop_modalities
from training.distillation.losses import classification
from training.loop import Schedule, fit
from training.models import Fusion
from training.recipes.fusion import fuse_all, subset_scores

PER_EMOTION = 6


def bank(slots: int, noise: float, seed: int) -> Bank:
    rng = np.random.default_rng(seed)
    emotion = np.repeat(np.arange(len(EMOTIONS)), PER_EMOTION)
    centres = np.random.default_rng(slots).standard_normal((len(EMOTIONS), EMBEDDING_DIM))
    items = centres[emotion] + noise * rng.standard_normal((len(emotion), EMBEDDING_DIM))
    tokens = torch.from_numpy(items).float()[:, None].expand(-1, slots, -1)
    return Bank(tokens, torch.ones(len(emotion), slots), emotion, np.zeros(len(emotion), dtype=np.float32))


def composed(seed: int) -> Composed:
    """Audio says nothing, the face everything, text a little."""
    faces = bank(1, 0.5, seed)
    return Composed(bank(AUDIO_SLOTS, 60.0, seed), FaceBank(faces.tokens[:, 0], faces.emotion), bank(64, 4.0, seed))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Fusion:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    student, train = Fusion(), composed(1)

    def loss(windows):
        return classification(student.fuse(windows.embeddings, windows.masks).emotion_logits, windows.emotion).mean()

    schedule = Schedule(1, 80, 2e-3)
    batches = lambda _: (drop_modalities(train.draw(32, rng), rng) for _ in range(80))  # noqa: E731
    fit(student, batches, loss, lambda: {"score": 0.0}, schedule, tmp_path_factory.mktemp("fusion"))
    return student


def test_it_learns_whom_to_trust(trained):
    windows = composed(2).draw(200, np.random.default_rng(3))
    accuracy = {subset: scores.accuracy for subset, scores in subset_scores(trained, windows).items()}
    assert accuracy.keys() == set(SUBSETS)
    assert accuracy["-v-"] > 80
    assert accuracy["avt"] > 80
    assert accuracy["a--"] < 50
    audio, video, _ = fuse_all(trained, windows).contribution.mean(dim=0).tolist()
    assert video > audio


def test_heads_are_linear_in_the_summaries(trained):
    """Contributions are shares of the answer: with one modality it is that one's own answer."""
    windows = composed(2).draw(8, np.random.default_rng(3)).only("-v-")
    fused = fuse_all(trained, windows)
    assert torch.equal(fused.contribution, torch.tensor([[0.0, 1.0, 0.0]]).expand(8, -1))


def test_in_parts_as_at_once(trained):
    windows = composed(2).draw(10, np.random.default_rng(3))
    for a, b in zip(fuse_all(trained, windows, batch=3), fuse_all(trained, windows), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
