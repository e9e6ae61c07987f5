import tomllib
from pathlib import Path

import pytest

from bench.suite import Suite, read_suite, suite_of, suites, with_knobs
from training.data.tasks import TASKS
from training.distillation import METHODS, STEPS, WEIGHERS
from training.engine.tables import RecipeError

TOY = """
title = "Toy"
question = "Does it help?"
control = "plain"
pairs = [["kd", "dkd"]]
recipe = { held_out = 0.2 }

[search.knobs.kd]
temperature = { low = 1.0, high = 4.0 }

[tasks.toy]
teachers = ["good", "fair"]
budget = { epochs = 4, batch = 32 }
recipe = { student = "steady" }

[[entries]]
title = "plain"

[[entries]]
title = "{each}"
each = ["kd", "dkd"]
family = "A"
recipe = { teachers = "ALL", methods = "{each}" }
recipe_of = { toy = { student = "default" } }

[[entries]]
title = "elsewhere"
tasks = ["talk"]
"""


def toy(more: str = "") -> Suite:
    return suite_of("toy", tomllib.loads(TOY + more))


def test_a_recipe_is_put_together_from_suite_task_and_entry() -> None:
    suite = toy()
    assert [entry.title for entry in suite.entries_of("toy")] == ["plain", "kd", "dkd"]
    plain, kd, _, _ = suite.entries
    recipe = suite.recipe_for(kd, "toy", ["good"], seed=3, scale=0.5)
    assert (recipe["student"], recipe["teachers"], recipe["seed"]) == ("default", ["good"], 3)
    assert (recipe["held_out"], recipe["budget"]["epochs"], recipe["name"]) == (0.2, 2.0, "kd")
    assert suite.recipe_for(plain, "toy", ["good"], 0)["student"] == "steady"
    assert suite.recipe_for(plain, "toy", ["good"], 0)["teachers"] == []


def test_options_are_searched_where_they_belong() -> None:
    suite = toy()
    plain, kd, dkd, _ = suite.entries
    assert (set(suite.ranges_of(plain, "toy")), set(suite.ranges_of(kd, "toy"))) == (set(), {"kd.temperature"})
    assert "dkd.alpha" in suite.ranges_of(dkd, "toy"), "common ranges"
    recipe = suite.recipe_for(kd, "toy", ["good"], 0)
    assert with_knobs(recipe, {"kd.temperature": 2.5})["methods"] == [{"name": "kd", "temperature": 2.5}]
    assert recipe["methods"] == [{"name": "kd"}]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("line = 3\n", r"entries.2.line: expected a string"),
        ("[search.knobs.kd]\ntemperatur = { low = 1.0, high = 2.0 }", r"Cannot declare|temperatur"),
        ('[[entries]]\ntitle = "kd"', r"two entries are called 'kd'"),
        ('[[entries]]\ntitel = "x"', r"entries.3.titel: unknown key; did you mean 'title'\?"),
    ],
)
def test_what_a_suite_has_not_got_is_named_with_its_place(tmp_path: Path, more: str, message: str) -> None:
    (tmp_path / "toy.toml").write_text(TOY + more)
    with pytest.raises(RecipeError, match=message):
        read_suite(tmp_path / "toy.toml")


def test_unknown_knobs_and_titles_are_named() -> None:
    with pytest.raises(RecipeError, match=r"knobs.kd.temperatur: no such option; did you mean 'temperature'\?"):
        suite_of("toy", {"search": {"knobs": {"kd": {"temperatur": [1.0]}}}})
    with pytest.raises(RecipeError, match=r"no entry 'plan'; did you mean 'plain'\?"):
        suite_of("toy", {**tomllib.loads(TOY), "control": "plan"})


@pytest.mark.parametrize("suite", suites().values(), ids=lambda suite: suite.name)
def test_ours_are_recipes_on_tasks_that_there_are(suite: Suite) -> None:
    assert set(suite.tasks) <= set(TASKS)
    for task, plan in suite.tasks.items():
        for entry in suite.entries_of(task):
            recipe = suite.recipe_for(entry, task, list(plan.teachers), 0)
            for knobs in suite.search.draw(suite.ranges_of(entry, task), entry.title)[:2]:
                assert with_knobs(recipe, knobs)["task"] == task


def test_every_method_weigher_and_step_of_ours_is_in_a_suite() -> None:
    used: set[str] = {"uniform"}
    for suite in suites().values():
        for task in suite.tasks:
            for entry in suite.entries_of(task):
                recipe = suite.recipe_for(entry, task, ["any"], 0)
                used |= {choice["name"] for choice in (*recipe["methods"], recipe["weigher"], *recipe["step"])}
    assert not {*METHODS, *WEIGHERS, *STEPS} - used
