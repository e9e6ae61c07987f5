import pytest

from contract.labels import EMOTIONS, VALENCE
from training.data import meld, sst_mr, tweeteval, vader
from training.data.corpora import opinion_sentences, text_targets, training_sentences
from training.data.folder import DataMissingError
from training.data.sentences import Overlap, Sentence, bare, comparison_key, detokenize


def test_sst_splits_and_scales(corpora):
    assert [s.polarity for s in sst_mr.load_sst2(corpora, "valid")] == ["negative"]
    assert [s.sentiment for s in sst_mr.load_sst5(corpora, "train")] == [1.0, 0.0]


def test_mr_has_no_sentence_of_ssts_dev_and_test_whatever_its_spelling(corpora):
    assert [s.text for s in sst_mr.load_mr(corpora)] == ["dull, dull, dull."]


def test_vaders_snippets_have_no_sentence_of_sst_either(corpora):
    parts = {split: vader.load(corpora, split) for split in ("train", "valid", "test")}
    texts = [s.text for part in parts.values() for s in part]
    assert len(texts) == len(set(texts)) == 40
    assert not [text for text in texts if "charming" in text]
    assert all(-1 <= s.sentiment <= 1 for part in parts.values() for s in part)


def test_meld_and_tweeteval_use_our_labels(corpora):
    assert meld.load(corpora, "train") == [Sentence("Great!", emotion="happy", polarity="positive")]
    assert meld.load(corpora, "valid")[0].emotion == "angry"
    assert tweeteval.load(corpora, "train") == [Sentence("Keep going hope", emotion="happy")]
    assert tweeteval.load(corpora, "valid")[0].emotion == "sad"


def test_training_sentences_occur_once_and_only_from_training_parts(corpora):
    texts = [s.text for s in training_sentences(corpora)]
    assert len({comparison_key(text) for text in texts}) == len(texts)
    assert {"a stirring, funny film.", "Great!", "dull, dull, dull."} <= set(texts)
    assert not {"No!", "Ok.", "so sad"} & set(texts)


def test_opinions_are_degrees_without_emotions(corpora):
    found = opinion_sentences(corpora)
    assert {s.text for s in found} < {s.text for s in training_sentences(corpora)}
    assert all(s.emotion is None for s in found)
    assert {"a stirring, funny film.", "dull, dull, dull."} <= {s.text for s in found}


@pytest.mark.parametrize(
    ("text", "words"),
    [("Well, it isn't — good!", "Well it isn't good"), ("it\u2019s 5 o'clock...", "it\u2019s 5 o'clock"), ("?!", "")],
)
def test_bare(text, words):
    assert bare(text) == words


def test_targets():
    targets = text_targets(
        [Sentence("a", sentiment=0.5), Sentence("b", emotion="sad"), Sentence("c", polarity="positive")]
    )
    assert targets.emotion.tolist() == [-1, EMOTIONS.index("sad"), -1]
    assert targets.sentiment.tolist() == pytest.approx([0.5, VALENCE["sad"], 0.7])


@pytest.mark.parametrize(
    ("treebank", "plain"),
    [
        ("it 's n't good .", "it'sn't good."),
        ("does n't it ?", "doesn't it?"),
        ("-lrb- well -rrb- , yes", "( well ), yes"),
    ],
)
def test_detokenize(treebank, plain):
    assert detokenize(treebank) == plain


def test_overlap_sees_through_spelling_and_cuts():
    overlap = Overlap(["Jean-Claude Van Damme made a café of a movie about quite nothing ."])
    assert "jean claude van damme made a cafe of a movie about quite nothing" in overlap
    assert "made a café of a movie about quite nothing" in overlap
    assert "Jean-Claude Van Damme made another film that nobody asked for" not in overlap


@pytest.mark.parametrize(
    "load", [sst_mr.load_mr, lambda root: meld.load(root, "train"), lambda r: vader.load(r, "train")]
)
def test_a_missing_corpus_is_named(load, tmp_path):
    with pytest.raises(DataMissingError, match=r"corpus \w+: .*csv does not exist"):
        load(tmp_path)


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "meld_text").mkdir()
    (tmp_path / "meld_text/utterances.csv").write_text("split,text\n")
    with pytest.raises(DataMissingError, match="no column emotion, sentiment"):
        meld.load(tmp_path, "train")


MELD = "split,dialogue_id,utterance_id,speaker,emotion,sentiment,text\n"


def test_turns_of_a_dialogue_come_in_order(tmp_path):
    rows = ["train,1,10,Ann,joy,positive,c", "train,1,2,Bob,anger,negative,b", "dev,0,0,Ann,joy,positive,of dev"]
    rows += ["train,0,3,Cid,neutral,neutral,a"]
    (tmp_path / "meld_text").mkdir()
    (tmp_path / "meld_text/utterances.csv").write_text(MELD + "\n".join(rows))
    turns = meld.load_dialogues(tmp_path, "train")
    assert [(t.dialogue, t.number, t.sentence.text) for t in turns] == [(0, 3, "a"), (1, 2, "b"), (1, 10, "c")]
    assert (turns[1].speaker, turns[1].sentence.emotion, turns[1].sentence.polarity) == ("Bob", "angry", "negative")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("train,0,1,Ann,rage,negative,x", "row 1: emotion is 'rage', expected one of anger"),
        ("train,0,1,Ann,anger,bad,x", "row 1: sentiment is 'bad', expected one of negative"),
        ("train,0,x,Ann,anger,negative,x", "row 1: utterance_id is 'x', expected a number"),
        ("train,0,0,Ann,anger,negative,x", "row 1: dialogue 0 of train has a turn 0 already"),
    ],
)
def test_a_broken_turn_is_named(tmp_path, row, message):
    (tmp_path / "meld_text").mkdir()
    (tmp_path / "meld_text/utterances.csv").write_text(f"{MELD}train,0,0,Ann,joy,positive,x\n{row}\n")
    with pytest.raises(DataMissingError, match=message):
        meld.load_dialogues(tmp_path, "train")


@pytest.mark.data
def test_the_real_mr_holds_nothing_of_ssts_test(research_data):
    held_out = {comparison_key(s.text) for split in ("valid", "test") for s in sst_mr.load_sst2(research_data, split)}
    kept = {comparison_key(s.text) for s in sst_mr.load_mr(research_data)}
    training = {comparison_key(s.text) for s in training_sentences(research_data)}
    assert not held_out & kept
    shared = {key for key in held_out & training if len(key) > 12}  # exclamations such as "No." occur everywhere
    assert not shared
    assert 7_000 < len(kept) < 8_500


@pytest.mark.data
def test_the_real_corpora_have_their_published_sizes(research_data):
    assert len(sst_mr.load_sst2(research_data, "test")) == 1821
    assert len(meld.load(research_data, "test")) == 2610
    assert len(tweeteval.load(research_data, "valid")) == 374
    turns = meld.load_dialogues(research_data, "train")
    assert sorted(t.sentence.text for t in turns) == sorted(s.text for s in meld.load(research_data, "train"))
    assert len({t.dialogue for t in turns}) == 1038
