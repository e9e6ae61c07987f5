import math

import pytest

from bench.search import Range, Search, doubt, edges

KD = {"kd.weight": Range(0.1, 10.0), "kd.form": Range(values=("a", "b")), "kd.share": Range(0.0, 1.0, closed=True)}


def test_draws_are_as_many_for_all_the_same_again_and_inside() -> None:
    search = Search(trials=40)
    drawn = search.draw(KD, "sst2: kd")
    assert drawn == search.draw(KD, "sst2: kd") != search.draw(KD, "sst2: dkd")
    assert (len(drawn), drawn[0]) == (40, {}), "the first takes the options as they stand"
    weights = [knobs["kd.weight"] for knobs in drawn[1:]]
    assert 0.1 <= min(weights) < 1 < max(weights) <= 10
    assert abs(sum(map(math.log10, weights)) / 39) < 0.4, "evenly between the logarithms"
    assert {knobs["kd.form"] for knobs in drawn[1:]} == {"a", "b"}
    assert search.draw({}, "plain") == []


def test_edges_are_where_a_better_value_may_lie_outside() -> None:
    assert edges({"kd.weight": 0.11, "kd.form": "a", "kd.share": 1.0}, KD) == ["kd.weight"]
    assert edges({"kd.weight": 9.5}, KD) == ["kd.weight"]
    assert edges({"kd.weight": 1.0}, KD) == []


@pytest.mark.parametrize(
    ("values", "chance", "lower", "why"),
    [
        ([50.0, 61.0], 52.0, False, ""),
        ([50.0, 52.0], 52.0, False, "its trials are at chance"),
        ([61.0, 61.0], 52.0, False, "its trials are tied"),
        ([0.4, 0.3], 0.35, True, ""),
        ([0.4, 0.36], 0.35, True, "its trials are at chance"),
        ([61.0, float("nan")], 70.0, False, "its trials are tied"),
        ([61.0, 60.0], float("nan"), False, ""),
        ([], 50.0, False, ""),
    ],
)
def test_what_says_nothing_is_doubted(values: list[float], chance: float, lower: bool, why: str) -> None:
    assert doubt(values, chance, lower) == why
