"""Recipes: what is read, what is overridden, and how a mistake is answered."""

from pathlib import Path
from typing import Any

import pytest

from training.engine.recipe import Recipe, read_recipe, recipe_of
from training.engine.tables import RecipeError, override

ROOT = Path(__file__).resolve().parents[3]
KD: dict[str, Any] = {"task": "toy", "teachers": ["good"], "methods": [{"name": "kd", "temperature": 2}]}


def test_defaults_and_shorthand() -> None:
    recipe = recipe_of({"task": "toy", "teachers": "good", "methods": "kd", "weigher": "meta", "step": "reweight"})
    assert recipe.teachers == ("good",)
    assert recipe.methods[0].name == "kd"
    assert [step.name for step in recipe.step] == ["reweight"]
    assert recipe.title == "kd + meta + reweight"
    assert recipe.needs_held_out


def test_plain_is_no_outer_step() -> None:
    recipe = recipe_of({"task": "toy", "step": "plain"})
    assert recipe.step == ()
    assert not recipe.needs_held_out
    assert recipe.title == "plain"


def test_table_reads_back() -> None:
    methods = [{"name": "fitnet", "layers": [["h1", "h1"]], "weigher": {"name": "confidence"}}, "rkd"]
    recipe = recipe_of({**KD, "methods": methods, "weigher": {"name": "meta", "hidden": 8}, "step": ["meta_teacher"]})
    assert recipe_of(recipe.table()) == recipe


def test_settings_override() -> None:
    settings = ["methods.0.temperature=3.5", "budget.steps=7", "student=steady", "methods.1.name=rkd", "seed=4"]
    recipe = recipe_of(KD, settings)
    assert recipe.methods[0].options["temperature"] == 3.5
    assert recipe.budget.steps == 7
    assert (recipe.student, recipe.seed) == ("steady", 4)
    assert recipe.methods[1].name == "rkd"
    assert KD["methods"][0]["temperature"] == 2


def test_override_makes_tables_on_the_way() -> None:
    assert override({}, ["budget.steps=3", "teachers=['a', 'b']"]) == {"budget": {"steps": 3}, "teachers": ["a", "b"]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"tsk": "toy"}, "tsk: unknown key; did you mean 'task'?"),
        ({}, "task: missing"),
        ({"task": 3}, "task: expected a string, got 3"),
        ({**KD, "budget": {"epoch": 3}}, "budget.epoch: unknown key; did you mean 'epochs'?"),
        ({**KD, "budget": {"batch": "big"}}, "budget.batch: expected a whole number, got 'big'"),
        ({**KD, "budget": {"batch": True}}, "budget.batch: expected a whole number, got True"),
        ({**KD, "budget": {"learning_rate": -1}}, "budget: learning_rate must be greater than 0, got -1.0"),
        ({**KD, "budget": 3}, "budget: expected a table, got 3"),
        ({**KD, "methods": [{"name": "kdd"}]}, "methods.0.name: 'kdd' is unknown; did you mean 'kd'?"),
        ({**KD, "methods": ["kd", {"weight": 2}]}, "methods.1: expected a name, or a table with a `name`"),
        (
            {**KD, "methods": [{"name": "kd", "temprature": 2}]},
            "methods.0.temprature: unknown key; did you mean 'temperature'?",
        ),
        (
            {**KD, "methods": [{"name": "kd", "temperature": -2}]},
            "methods.0: temperature must be greater than 0, got -2",
        ),
        (
            {**KD, "methods": [{"name": "kd", "weigher": "confidense"}]},
            "methods.0.weigher.name: 'confidense' is unknown; did you mean 'confidence'?",
        ),
        ({**KD, "weigher": "entropi"}, "weigher.name: 'entropi' is unknown; did you mean 'entropy'?"),
        ({**KD, "step": ["reweigth"]}, "step.0.name: 'reweigth' is unknown; did you mean 'reweight'?"),
        ({**KD, "precision": "bf61"}, "precision: 'bf61'; did you mean 'bf16'?"),
        ({**KD, "held_out": 1.5}, "held_out must be in (0, 1), got 1.5"),
        ({**KD, "modality_dropout": 1}, "modality_dropout must be in [0, 1), got 1.0"),
        ({"task": "toy", "methods": ["kd"]}, "methods: there is nobody to learn from; add teachers = [...]"),
        ({"task": "toy", "teachers": ["good"]}, "teachers: nothing is learned from them"),
        ({"task": "toy", "labels": {"weight": 0}}, "labels.weight is 0 and there are no methods"),
        ({**KD, "teachers": ["good", "good"]}, "teachers: a name stands there twice"),
    ],
)
def test_mistakes_are_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_of(table)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("budget", "'budget': a setting is written path.to.key=value"),
        ("methods.5.name=kd", "methods.5.name: '5' is no index of a list of 1"),
        ("methods.x=kd", "methods.x: 'x' is no index of a list of 1"),
        ("task.name.x=1", "task.name.x: there is nothing below"),
        ("budget.stepps=3", "budget.stepps: unknown key; did you mean 'steps'?"),
    ],
)
def test_wrong_settings_are_named(setting: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_of(KD, [setting])
    assert str(caught.value).startswith(message)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text('task = "toy"\n')
    with pytest.raises(RecipeError, match=r"plian.toml: no such recipe; did you mean 'plain.toml'\?"):
        read_recipe(tmp_path / "plian.toml")


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("task = toy")
    with pytest.raises(RecipeError, match=r"r\.toml: Invalid value"):
        read_recipe(path)
    path.write_text('task = "toy"\nseeed = 1')
    with pytest.raises(RecipeError, match=r"r.toml: seeed: unknown key; did you mean 'seed'\?"):
        read_recipe(path)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_repository_are_valid(path: Path) -> None:
    from training.data.tasks import TASKS

    recipe = read_recipe(path)
    assert isinstance(recipe, Recipe)
    assert recipe.task in TASKS
