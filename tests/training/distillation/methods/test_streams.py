"""Streams of outputs, and what they know."""

import math

import pytest
import torch

from training.distillation.methods.streams import (
    LAYER,
    STREAMS,
    among_present,
    apart,
    as_output,
    classes_of,
    knowledge,
    streams_of,
    sureness,
    there,
)
from training.distillation.outputs import Output


def test_a_multimodal_output_has_a_stream_for_every_modality_and_one_for_all(world):
    teacher = world("streams")[1]["large"]
    streams = streams_of("t", teacher)
    assert list(streams) == [f"t.{name}" for name in STREAMS]
    for modality in ("audio", "video", "text"):
        assert torch.equal(streams[f"t.{modality}"].logits, teacher.features[f"{modality}.logits"])
        assert torch.equal(streams[f"t.{modality}"].features[LAYER], teacher.features[modality])
    assert torch.equal(streams["t.fused"].logits, teacher.logits)
    assert torch.equal(streams["t.fused"].features[LAYER], teacher.features["penultimate"])


def test_each_stream_is_there_where_its_modality_is(world):
    streams = streams_of("t", world("streams")[0])
    like = torch.zeros(6)
    assert there(streams["t.audio"], like).tolist() == [False, False, True, True, True, True]
    assert there(streams["t.video"], like).tolist() == [True, False, True, True, True, True]
    assert there(streams["t.text"], like).all()
    assert there(streams["t.fused"], like).all()
    assert streams["t.video"].present[2].tolist() == [0, 1, 0]


def test_what_is_absent_is_zero_whatever_stands_there(world):
    student = world("streams")[0]
    student.features["audio"][:2] = math.nan
    student.features["audio.logits"][:2] = math.nan
    audio = streams_of("s", student)["s.audio"]
    assert audio.features[LAYER][:2].eq(0).all()
    assert audio.logits[:2].eq(0).all()
    assert knowledge(audio)[:2].eq(0).all()
    student.present[:] = 0
    assert not there(streams_of("s", student)["s.fused"], student.logits).any()


def test_a_unimodal_output_is_one_stream_with_its_last_feature_pooled_over_what_is_there(world):
    teacher = world("sequence")[1]["small"]
    streams = streams_of("t", teacher)
    assert list(streams) == ["t.fused"]
    steps = teacher.features["h2"][0][teacher.masks["h2"][0] > 0]
    torch.testing.assert_close(streams["t.fused"].features[LAYER][0], steps.mean(0))
    named = Output(teacher.logits, features={"penultimate": teacher.features["h1"], "h9": teacher.features["h2"]})
    torch.testing.assert_close(streams_of("t", named)["t.fused"].features[LAYER], teacher.features["h1"].mean(1))


def test_what_lacks_is_named(world):
    teacher = world("streams")[1]["large"]
    with pytest.raises(ValueError, match=r"stream t\.fused needs 'logits' .* a feature 'penultimate'; its model gives"):
        streams_of("t", Output(features=teacher.features))
    with pytest.raises(ValueError, match=r"t\.fused .* feature 'penultimate'; its model gives logits \(6, 4\)"):
        streams_of("t", Output(teacher.logits))
    del teacher.features["text.logits"]
    with pytest.raises(ValueError, match=r"stream t\.text needs 'text\.logits' .* audio\.logits \(6, 4\), video"):
        streams_of("t", teacher)
    with pytest.raises(ValueError, match=r"same classes, got \{'a': 2, 'b': 3\}"):
        classes_of({"a": Output(torch.zeros(1, 2)), "b": Output(torch.zeros(1, 3))})


def test_weights_of_absent_streams_go_to_the_others():
    absent = [[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0]]
    streams = {
        name: Output(torch.zeros(4, 2), present=torch.tensor([[float(row[k])] * 3 for row in absent]))
        for k, name in enumerate("abc")
    }
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
    expected = torch.tensor([[0.4, 0.6, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    torch.testing.assert_close(among_present(weights, streams), expected)
    everywhere = {name: Output(torch.zeros(4, 2)) for name in "abc"}
    torch.testing.assert_close(among_present(weights, everywhere), weights)


def test_distances_and_sureness_by_hand(draw):
    x, y = draw(4, 5), draw(4, 5)
    expected = [
        1 - sum(a * b for a, b in zip(p, q, strict=True)) / (math.hypot(*p) * math.hypot(*q))
        for p, q in zip(x.tolist(), y.tolist(), strict=True)
    ]
    torch.testing.assert_close(apart(x, y), torch.tensor(expected, dtype=torch.float64))
    assert apart(torch.zeros(2, 3), torch.ones(2, 3)).tolist() == [1, 1]
    assert sureness(torch.zeros(1, 4)).item() == 0
    assert sureness(torch.tensor([[100.0, 0.0]])).item() == pytest.approx(1)
    p = 0.3
    entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p)) / math.log(2)
    assert sureness(torch.tensor([[p, 1 - p]]).log()).item() == pytest.approx(1 - entropy)


def test_knowledge_is_answer_and_direction_and_becomes_an_output_again(world):
    stream = streams_of("t", world("streams")[1]["large"])["t.audio"]
    x = knowledge(stream)
    torch.testing.assert_close(x[1:, :4].sum(1), torch.ones(5).double())
    torch.testing.assert_close(x[1:, 4:].square().sum(1), torch.ones(5).double())
    again = as_output(x, 4, there(stream, x))
    torch.testing.assert_close(again.logits.softmax(1)[1:], stream.logits.softmax(1)[1:])
    torch.testing.assert_close(apart(again.features[LAYER], stream.features[LAYER])[1:], torch.zeros(5).double())
    assert again.present.tolist() == [[0, 0, 0], *[[1, 1, 1]] * 5]
    assert again.logits[0].eq(0).all()
