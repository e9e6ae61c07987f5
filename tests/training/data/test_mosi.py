import csv
from itertools import pairwise

import numpy as np
import pytest

from training.data import mosi
from training.data.folder import DataMissingError

SPLITS = ("train", "valid", "test")
HEADER = ["row", "segment_id", "video_id", "segment", "bclstm_split", "label_binary", "sentiment", "text"]


def write(root, rows, **changed):
    """Rows of (video, segment, split, label, sentiment); features that name their row."""
    folder = root / "mosi_bclstm"
    folder.mkdir(exist_ok=True)
    table = [
        [str(i), f"{video}_{number}", video, str(number), split, str(label), str(sentiment), f"WORD {i}"]
        for i, (video, number, split, label, sentiment) in enumerate(rows)
    ]
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *table])
    features = {
        name: np.repeat(np.arange(len(rows), dtype=np.float32)[:, None], width, axis=1)
        for name, width in (("audio", 73), ("video", 100), ("text", 100))
    }
    np.savez(
        folder / "mosi_utterance_features.npz",
        **{"segment_id": np.array([row[1] for row in table])} | features | changed,
    )


ROWS = [
    ("b", 10, "train", 1, 0.0),
    ("b", 2, "train", 0, -1.0),
    ("a", 1, "train", 1, 3.0),
    ("c", 1, "test", 0, -3.0),
    ("b", 1, "train", 1, 0.5),
]


def test_segments_stand_in_the_order_of_time(tmp_path):
    """Not in that of their names, where 10 comes before 2; features go along."""
    write(tmp_path, ROWS)
    parts = mosi.load(tmp_path)
    known = [segment for split in SPLITS for segment in parts[split].segments]
    assert [(s.video, s.number) for s in known if s.video == "b"] == [("b", 1), ("b", 2), ("b", 10)]
    for part in parts.values():
        for name, width in (("audio", 73), ("video", 100), ("text", 100)):
            assert part.features[name].shape == (len(part.segments), width)
            assert part.features[name][:, 0].tolist() == [s.row for s in part.segments]
    (held,) = parts["test"].segments
    assert (held.id, held.sentiment, held.positive, held.text) == ("c_1", -3.0, False, "WORD 3")


def test_validation_videos_are_of_all_sizes_and_a_fixed_choice():
    sizes = {f"v{i:02}": i for i in range(62)}
    chosen = mosi.validation_videos(sizes)
    assert len(chosen) == 10
    assert chosen == mosi.validation_videos(dict(reversed(sizes.items())))
    ordered = sorted(chosen, key=lambda video: sizes[video])
    for i, video in enumerate(ordered):
        assert 6.2 * i - 1 <= sizes[video] <= 6.2 * (i + 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("b", 3, "train", 2, 1.0), r"row 5 \(b_3\): label_binary is '2', expected 0 or 1"),
        (("b", 3, "train", 0, 0.0), r"row 5 \(b_3\): label_binary 0 contradicts sentiment 0.0"),
        (("b", 3, "train", 1, 3.2), r"row 5 \(b_3\): sentiment 3.2 is not in \[-3, 3\]"),
        (("b", 3, "train", 1, "nan"), r"row 5 \(b_3\): sentiment is 'nan', expected a number"),
        (("b", 0, "train", 1, 1.0), r"row 5 \(b_0\): segment is '0'"),
        (("b", 3, "dev", 1, 1.0), r"row 5 \(b_3\): bclstm_split is 'dev', expected train or test"),
        (("b", 3, "test", 1, 1.0), r"row 5 \(b_3\): video b is in both parts"),
        (("b", 10, "train", 1, 1.0), r"row 5 \(b_10\): row 0 is that segment already"),
    ],
)
def test_a_broken_row_is_named(tmp_path, row, message):
    write(tmp_path, [*ROWS, row])
    with pytest.raises(DataMissingError, match=message):
        mosi.load(tmp_path)


def test_features_that_are_not_the_manifests(tmp_path):
    write(tmp_path, ROWS, segment_id=np.array(["b_10", "b_2", "x_1", "c_1", "b_1"]))
    with pytest.raises(DataMissingError, match=r"row 2: segment_id is x_1, manifest\.csv has a_1"):
        mosi.load(tmp_path)
    write(tmp_path, ROWS, audio=np.zeros((4, 73), dtype=np.float32))
    with pytest.raises(DataMissingError, match=r"audio has 4 rows, manifest\.csv has 5"):
        mosi.load(tmp_path)
    broken = np.zeros((5, 100), dtype=np.float32)
    broken[3, 7] = np.nan
    write(tmp_path, ROWS, video=broken)
    with pytest.raises(DataMissingError, match=r"row 3 \(c_1\): video holds a value not finite"):
        mosi.load(tmp_path)
    np.savez(tmp_path / "mosi_bclstm/mosi_utterance_features.npz", segment_id=np.zeros(5))
    with pytest.raises(DataMissingError, match="has no array audio, text, video"):
        mosi.load(tmp_path)


def test_lost_apostrophes_come_back():
    assert mosi.readable("I DIDNT  THINK ITS BAD WERE WE") == "i didn't think it's bad were we"


@pytest.mark.data
def test_the_real_split(research_data):
    parts = mosi.load(research_data)
    videos = [{s.video for s in parts[split].segments} for split in SPLITS]
    assert [len(names) for names in videos] == [52, 10, 31]
    assert not videos[0] & videos[1] | videos[0] & videos[2] | videos[1] & videos[2]
    assert len(parts["test"].segments) == 752
    assert sum(len(part.segments) for part in parts.values()) == 2199
    assert 200 < len(parts["valid"].segments) < 270
    for part in parts.values():
        for one, after in pairwise(part.segments):
            assert after.number == (one.number + 1 if after.video == one.video else 1)
