"""Dashboard, alerts and the page for operators speak of metrics that the server really has."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

import server.live.observing
import server.metrics  # noqa: F401 (registers the metrics)

ROOT = Path(__file__).parents[2]
FILES = ["deploy/prometheus/alerts.yml", "deploy/grafana/moodstream.json", "docs/operations.md"]
SUFFIXES = ("", "_bucket", "_count", "_sum")


def exported() -> set[str]:
    names = set()
    for family in REGISTRY.collect():
        total = "_total" if family.type == "counter" else ""
        names |= {family.name + total + (suffix if family.type == "histogram" else "") for suffix in SUFFIXES}
    return names


@pytest.mark.parametrize("file", FILES)
def test_every_metric_that_is_named_is_exported(file: str):
    named = set(re.findall(r"\b(?:moodstream|process)_[a-z_]+\b", (ROOT / file).read_text(encoding="utf-8")))
    assert named - exported() == set()
    assert len(named) > 3
