import json

import pytest
import torch
from torch import nn

from training.checkpoints import CheckpointMissingError, load_student
from training.loop import Schedule, fit


def test_keeps_the_best_epoch_and_logs_all(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    x = torch.randn(64, 2)
    y = x @ torch.tensor([[1.0], [-2.0]])
    scores = iter([1.0, 3.0, 2.0])
    weights = []

    def validate():
        assert not model.training
        weights.append(model.weight.detach().clone())
        return {"score": next(scores)}

    def loss(batch):
        return (model(batch[0]) - batch[1]).square().mean()

    best = fit(model, lambda _: [(x, y)] * 4, loss, validate, Schedule(3, 4, 0.05), tmp_path)
    assert (best["epoch"], best["score"]) == (2, 3)
    assert torch.equal(model.weight, weights[1]), "the best epoch is loaded at the end"
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[2]["train_loss"] < lines[0]["train_loss"]
    assert json.loads((tmp_path / "metrics.json").read_text())["epoch"] == 2


def test_a_schedule_without_steps_is_refused():
    with pytest.raises(ValueError, match="at least one step"):
        Schedule(3, 0, 0.1)


def test_a_missing_checkpoint_says_what_to_run(tmp_path):
    with pytest.raises(CheckpointMissingError, match="python -m training train"):
        load_student(nn.Linear(1, 1), tmp_path / "fusion")
