import pytest

from training.distillation.weighers import WeightRecorder


def filled(steps):
    recorder = WeightRecorder()
    for step in steps:
        recorder.add(step, {"a": 0.25, "b": 0.75 + step}, {"b": 0.2, "a": 0.1})
    return recorder


def test_means_and_spreads_by_teacher_whatever_their_order(tmp_path):
    recorder = filled([1, 5])
    assert recorder.columns() == {"a": [0.25, 0.25], "b": [1.75, 5.75]}
    assert recorder.spreads() == {"a": [0.1, 0.1], "b": [0.2, 0.2]}
    recorder.save(tmp_path / "weights.csv")
    assert (tmp_path / "weights.csv").read_text().splitlines() == ["step,a,b,a std,b std", "1,0.25,1.75,0.1,0.2",
                                                                   "5,0.25,5.75,0.1,0.2"]  # fmt: skip


def test_a_resumed_run_has_one_course():
    resumed = WeightRecorder()
    resumed.load_state_dict(filled([1]).state_dict())
    resumed.add(5, {"a": 0.25, "b": 5.75}, {"a": 0.1, "b": 0.2})
    assert resumed.state_dict() == filled([1, 5]).state_dict()


def test_other_teachers_are_refused():
    with pytest.raises(ValueError, match="are of a, b, not of a, c"):
        filled([1]).add(2, {"a": 0.5, "c": 0.5}, {"a": 0, "c": 0})
