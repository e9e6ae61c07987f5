"""Own clips: a film with a face and a voice, a sound, a picture and a bare sentence."""

import av
import numpy as np
import pytest
import soundfile
import torch
from skimage import data as pictures

from training.data.clip_folder import Folder
from training.data.clips import find_face, read_media, read_table
from training.data.folder import DataMissingError
from training.teachers.fetch import TeacherError

HEADER = "file,split,label,score,text,speaker,start_s,end_s"
ROWS = [
    "film.mp4,train,happy,,what a lovely day,ann,,",
    "sound.flac,train,sad,,,bob,0.5,1.5",
    "face.png,train,happy,0.9,,cid,,",
    ",train,sad,,this is awful,dan,,",
    "film.mp4,train,angry,,,ann,0.2,0.9",
    "sound.flac,valid,sad,,,eve,,",
    "film.mp4,test,happy,,great,fay,,",
]


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    tone = (0.3 * np.sin(2 * np.pi * 220 * np.arange(32_000) / 16_000)).astype(np.float32)
    soundfile.write(root / "sound.flac", tone, 16_000)
    portrait = np.ascontiguousarray(pictures.astronaut()[:256, 96:352])
    with av.open(str(root / "film.mp4"), "w") as film:
        video, audio = film.add_stream("mpeg4", rate=10), film.add_stream("aac", rate=44_100)
        video.width, video.height, video.pix_fmt = 256, 256, "yuv420p"
        for _ in range(12):
            film.mux(video.encode(av.VideoFrame.from_ndarray(portrait, format="rgb24")))
        film.mux(video.encode())
        samples = np.repeat(tone[None], 2, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
        frame.sample_rate = 44_100
        film.mux(audio.encode(frame))
        film.mux(audio.encode())
    with av.open(str(root / "face.png"), "w", format="image2") as image:
        stream = image.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = 256, 256, "rgb24"
        image.mux(stream.encode(av.VideoFrame.from_ndarray(portrait, format="rgb24")))
        image.mux(stream.encode())
    (root / "clips.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    return root


@pytest.fixture(scope="session")
def task(clips, cache):
    return Folder(clips, cache)


def test_clips_have_what_their_files_and_rows_have(task):
    assert task.samples("train").present.tolist() == [[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]
    assert task.samples("test").present.tolist() == [[1, 1, 1]]
    inputs = task.samples("train").inputs
    for row, (sound, face, text) in enumerate(task.samples("train").present.tolist()):
        assert inputs["logmel_mask"][row].any() == bool(sound)
        assert inputs["face"][row].any() == bool(face)
        assert inputs["ids_mask"][row].any() == bool(text)


def test_known_words_keep_their_order_and_values(task):
    assert len(task.labels) == 7
    assert task.samples("train").target.tolist() == [3, 4, 3, 4, 0]
    assert task.samples("train").score.tolist() == pytest.approx([0.85, -0.65, 0.9, -0.65, -0.7])


def test_parts_of_a_file(clips):
    rows = read_table(clips)
    assert len(read_media(rows[1]).pcm) == 16_000
    assert read_media(rows[3]).pcm is None
    assert len(read_media(rows[0]).pcm) == pytest.approx(32_000 * 16_000 / 44_100, rel=0.1)


def test_a_face_is_found_and_framed():
    face = find_face(np.ascontiguousarray(pictures.astronaut()))
    assert face.shape == (64, 64, 3)
    assert find_face(np.zeros((200, 200, 3), dtype=np.uint8)) is None


@pytest.mark.parametrize("student", Folder.student_names)
def test_students_read_whatever_there_is(task, student):
    torch.manual_seed(0)
    net = task.student(student)
    inputs = task.augment(task.samples("train").inputs, torch.Generator().manual_seed(0))
    output = net(inputs)
    assert output.logits.shape == (5, 7)
    assert output.logits.isfinite().all()
    output.logits.square().sum().backward()
    if student == "default":
        assert not output.features["h2"][1].any(), "no face"
        assert all(parameter.grad is not None for parameter in net.parameters())
        net.eval()
        other = {key: tensor.clone() for key, tensor in task.samples("train").inputs.items()}
        expected = net(other).logits[1]
        other["face"][1], other["ids"][1], other["ids_mask"][1] = 200, 9, 1
        torch.testing.assert_close(net(other).logits[1], expected)  # absent modalities are not looked at


def test_teachers(task):
    assert task.teacher("random").outputs("train").logits.shape == (5, 7)
    for name in ("whisper", "fer", "minilm"):
        with pytest.raises(TeacherError, match="fetch-teachers"):
            task.teacher(name).outputs("train")


def test_scores_alone_become_polarities(clips, tmp_path, cache):
    for split, score in (("train", -0.5), ("valid", 0.05), ("test", 0.9)):
        with (tmp_path / "clips.csv").open("a") as file:
            file.write(f"{'file,split,score,text' + chr(10) if split == 'train' else ''},{split},{score},hello\n")
    task = Folder(tmp_path, cache)
    assert task.labels == ("negative", "neutral", "positive")
    assert [task.samples(split).target.item() for split in ("train", "valid", "test")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("nowhere.mp4,train,happy,,,,,", r"row 2 \(nowhere.mp4\): the file does not exist"),
        ("a.txt,dev,happy,,,,,", r"row 2 \(a.txt\): split 'dev' is none of train, valid, test"),
        ("a.txt,train,,,,,,", "neither label nor score"),
        ("a.txt,train,,2,,,,", r"score 2 is not in \[-1, 1\]"),
        ("a.txt,train,,much,,,,", "score 'much' is no number"),
        ("a.txt,train,,nan,,,,", "score 'nan' is no finite number"),
        ("a.txt,train,x,,,,3,2", "end_s 2 is not after start_s 3"),
        (",train,x,,,,,", r"row 2 \(no file\): neither file nor text"),
        ("a.txt,train,x,,,ann,,\na.txt,test,x,,,ann,,", "row 3 .*'ann' is in test, and in train in row 2"),
    ],
)
def test_a_broken_row_is_named(tmp_path, row, message):
    (tmp_path / "a.txt").write_text("no media")
    (tmp_path / "clips.csv").write_text(f"{HEADER}\n{row}\n")
    with pytest.raises(DataMissingError, match=message):
        read_table(tmp_path)


def test_other_errors(tmp_path):
    with pytest.raises(DataMissingError, match=r"clips\.csv does not exist: one row a clip"):
        Folder(tmp_path)
    (tmp_path / "clips.csv").write_text("file,text\n")
    with pytest.raises(DataMissingError, match="needs the columns file, split, and label or score"):
        Folder(tmp_path)
    (tmp_path / "a.txt").write_text("no media")
    (tmp_path / "clips.csv").write_text(f"{HEADER}\na.txt,train,x,,,,,\n")
    with pytest.raises(DataMissingError, match="has no row of split valid"):
        Folder(tmp_path)
    with pytest.raises(DataMissingError, match=r"row 2 \(a.txt\): can't be decoded"):
        read_media(read_table(tmp_path)[0])
