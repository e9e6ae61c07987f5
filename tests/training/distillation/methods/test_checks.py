from dataclasses import dataclass
from typing import Any

import pytest

from training.distillation.methods import checks


@dataclass(frozen=True)
class Box:
    value: Any


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0, {"above": 0}, "value must be greater than 0, got 0"),
        (-0.5, {"least": 0}, r"value must be at least 0, got -0\.5"),
        (float("inf"), {}, "value must be finite, got inf"),
        (float("nan"), {"least": 0}, "value must be finite, got nan"),
    ],
)
def test_numbers_out_of_range(value, bounds, message):
    with pytest.raises(ValueError, match=message):
        checks.number(Box(value), "value", **bounds)


@pytest.mark.parametrize("value", ["1", None, True])
def test_no_numbers(value):
    with pytest.raises(TypeError, match="value must be a number"):
        checks.number(Box(value), "value")
    with pytest.raises(TypeError, match="value must be a whole number"):
        checks.count(Box(value), "value")


def test_what_is_right_passes():
    checks.number(Box(0.5), "value", above=0, least=0.5)
    checks.count(Box(0), "value", least=0)
    checks.choice(Box("a"), "value", ("a", "b"))


def test_counts_and_choices():
    with pytest.raises(ValueError, match="value must be at least 1, got 0"):
        checks.count(Box(0), "value")
    with pytest.raises(ValueError, match="value must be one of a, b, got 'c'"):
        checks.choice(Box("c"), "value", ("a", "b"))


def test_lists_of_a_recipe_become_pairs():
    box = Box([["h1", "h2"]])
    checks.layers(box, "value")
    assert box.value == (("h1", "h2"),)


@pytest.mark.parametrize("value", [["h1"], [["h1"]], [["h1", 2]], [["h1", "h2", "h3"]], "h1"])
def test_no_pairs(value):
    with pytest.raises(TypeError, match=r"value must hold pairs \(student layer, teacher layer\)"):
        checks.layers(Box(value), "value")
