import json

import pytest

from contract.models import MODELS
from training.export.cards import render_cards

REPORT = {
    "measured": "2026-01-01",
    "versions": {"torch": "2"},
    "students": {
        "audio_encoder": {
            "parameters": 123456,
            "command": "python -m training train audio --seed 0",
            "seed": 0,
            "train_seconds": 300,
            "epochs": 4,
            "chosen_epoch": 3.0,
            "teacher": {"name": "whisper", "test": 79.4},
            "metrics": {"valid": {"accuracy": 71.5}, "test": {"accuracy": 65.5, "ece": 0.04}},
        }
    },
}


def test_a_card_tells_what_was_measured_and_how_it_was_made(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(REPORT))
    cards = render_cards(path)
    assert cards.keys() == {spec.name for spec in MODELS.values() if spec.backend == "onnxruntime"}
    card = cards["audio_encoder"]
    for text in (
        "123,456",
        "| test | 65.5 | 0.04 |",
        "whisper (test 79.4)",
        "--seed 0",
        "`PCM FP32 [24000]`",
        "CC BY-NC-SA",
    ):
        assert text in card
    assert "LICENSE.md" in cards["window"]


def test_without_a_report_it_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m training evaluate-students"):
        render_cards(tmp_path / "report.json")
