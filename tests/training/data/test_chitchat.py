import json

import pytest

from training.data.chitchat import load_chitchat
from training.data.folder import DataMissingError


def test_each_utterance_once_of_some_length_in_a_seeded_order(tmp_path):
    said = ["How are you  today?", "how are you today", "hi", "I like the sea very much", "word " * 31]
    messages = [[{"text": text} for text in said[:2]], [{"text": text} for text in said[2:]]]
    (tmp_path / "dataset.json").write_text(json.dumps({"a": {"messages": messages}}))
    assert sorted(load_chitchat(tmp_path)) == ["How are you today?", "I like the sea very much"]
    assert load_chitchat(tmp_path, most=1) == load_chitchat(tmp_path)[:1]


def test_another_form_is_named(tmp_path):
    with pytest.raises(DataMissingError, match="chitchat-dataset"):
        load_chitchat(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"a": {"messages": [[{"body": "x"}]]}}))
    with pytest.raises(DataMissingError, match="conversation a: no messages with text"):
        load_chitchat(tmp_path)
