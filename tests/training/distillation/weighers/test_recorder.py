import csv

import pytest
import torch

from training.distillation.weighers import WeightRecorder


def test_means_are_kept_by_step_and_teacher():
    recorder = WeightRecorder()
    first = recorder.add(3, torch.tensor([[1.0, 0.0], [0.5, 0.5]]), ["a", "b"])
    recorder.add(4, torch.tensor([[0.25, 0.75]]), ["a", "b"])
    assert first == {"a": 0.75, "b": 0.25}
    assert recorder.steps == [3, 4]
    assert recorder.columns() == {"a": [0.75, 0.25], "b": [0.25, 0.75]}


def test_csv(tmp_path):
    recorder = WeightRecorder()
    recorder.add(1, torch.tensor([[1.0, 0.0]]), ["a", "b"])
    recorder.save(tmp_path / "weights.csv")
    with (tmp_path / "weights.csv").open() as file:
        assert list(csv.reader(file)) == [["step", "a", "b"], ["1", "1.0", "0.0"]]


def test_a_resumed_course_goes_on():
    whole, resumed = WeightRecorder(), WeightRecorder()
    whole.add(1, torch.tensor([[1.0, 0.0]]), ["a", "b"])
    resumed.load_state_dict(whole.state_dict())
    for recorder in (whole, resumed):
        recorder.add(2, torch.tensor([[0.5, 0.5]]), ["a", "b"])
    assert resumed.state_dict() == whole.state_dict()
    assert resumed.steps == [1, 2]


def test_other_teachers_are_refused():
    recorder = WeightRecorder()
    recorder.add(1, torch.tensor([[1.0, 0.0]]), ["a", "b"])
    with pytest.raises(ValueError, match="are of a, b, not of b, a"):
        recorder.add(2, torch.tensor([[1.0, 0.0]]), ["b", "a"])
