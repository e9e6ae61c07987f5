import pytest
import torch

from training.data.sentences import comparison_key
from training.data.sst import PIECES, Sst2, Sst5
from training.models.students.aclsa import AclSa, inverse_document_frequency
from training.teachers.fetch import TeacherError


@pytest.fixture(scope="module")
def task(tiny, cache):
    return Sst2(tiny, cache)


def test_only_sst_s_own_training_sentences_train(task):
    assert [len(task.samples(split)) for split in ("train", "valid", "test")] == [60, 12, 12]
    texts = {split: {comparison_key(text) for text, _ in task.sentences[split]} for split in task.sentences}
    assert not texts["train"] & (texts["valid"] | texts["test"])
    assert not any("another corpus" in text for text, _ in task.sentences["train"])


def test_five_degrees_have_scores(tiny, cache):
    fine = Sst5(tiny, cache)
    samples = fine.samples("train")
    assert samples.score.unique().tolist() == [-1, -0.5, 0, 0.5, 1]
    assert torch.equal(samples.score, torch.tensor(fine.values)[samples.target])


def test_the_last_pieces_are_kept(tiny, cache):
    task = Sst2(tiny, cache)
    words = [f"w{i}" for i in range(100)]
    task.sentences = {split: [(" ".join(words), 1), ("short", 0)] for split in ("train", "valid", "test")}
    inputs = task.samples("train").inputs
    assert inputs["ids_mask"].sum(1).tolist() == [PIECES, 3]
    (pieces, letters), _ = task._pieces([" ".join(words), "short"])
    assert inputs["ids"][0, 1:-1].tolist() == pieces[-(PIECES - 2) :]
    assert letters[-1][1] == len(" ".join(words))


def test_the_fingerprint_is_of_the_sentences(tiny, cache):
    task, other = Sst2(tiny, cache), Sst2(tiny, cache)
    assert task.fingerprint() == other.fingerprint()
    text, label = other.sentences["train"][0]
    other.sentences["train"][0] = (text, 1 - label)
    assert task.fingerprint() != other.fingerprint()


def test_vader_is_taught_out_of_fold(task):
    pytest.importorskip("vaderSentiment")
    output = task.teacher("vader").outputs("train")
    assert output.features["h1"].shape == (60, 4)
    assert output.logits.shape == (60, 2)
    assert set(task.fold.tolist()) == {0, 1, 2}


def test_rare_pieces_weigh_more():
    ids = torch.tensor([[2, 5, 6, 3], [2, 5, 7, 3]])
    mask = torch.ones(2, 4)
    idf = inverse_document_frequency(ids, mask, 10)
    assert idf[5] == pytest.approx(1.0)
    assert idf[6] == idf[7] == pytest.approx(1 + torch.log(torch.tensor(1.5)).item())
    assert idf[9] > idf[6]
    net = AclSa(idf, (-1.0, 1.0), width=8)
    weights = net.tf_idf(torch.tensor([[5, 6, 6, 0]]), torch.tensor([[1.0, 1, 1, 0]]))
    assert weights[0, 3] == 0
    assert weights[0, :3].mean() == pytest.approx(1.0)
    assert weights[0, 1] / weights[0, 0] == pytest.approx(2 * idf[6].item() / idf[5].item())


def test_teachers_that_were_not_fetched(task):
    for name in ("minilm", "aclsa", "nade"):
        with pytest.raises(TeacherError, match="run `python -m training fetch-teachers`"):
            task.teacher(name).outputs("train")


def test_any_encoder_by_name(task, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TeacherError, match="no Hugging Face text encoder"):
        task.teacher(f"hf:{tmp_path / 'nothing'}").outputs("train")


@pytest.mark.data
def test_the_real_corpus_does_not_leak(research_data):
    task = Sst2(research_data)
    assert [len(task.sentences[split]) for split in ("train", "valid", "test")] == [6_920, 872, 1_821]
    held_out = {comparison_key(text) for split in ("valid", "test") for text, _ in task.sentences[split]}
    shared = {text for text, _ in task.sentences["train"] if comparison_key(text) in held_out}
    assert shared == {"no..", "what's next?", "cool."}, "what SST's own splits share"


def test_the_warm_student_starts_from_the_teachers_words(tiny, weights):
    task = Sst2(tiny, weights("minilm").parent)
    warm = task.student("warm")
    assert torch.equal(warm.pieces.weight, task._pretrained)
    ids = [task.tokenizer.token_to_id(word) for word in ("good", "great", "table")]
    good, great, table = torch.nn.functional.normalize(warm.pieces.weight[ids], dim=1)
    assert good @ great > good @ table


def test_the_warm_student_needs_the_teachers_weights(tiny, tmp_path):
    with pytest.raises(TeacherError, match="fetch-teachers"):
        Sst2(tiny, tmp_path).student("warm")
