"""From an entry of a suite to recipes: placeholders become teachers, and a factor a weight. Pure; runs nothing."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.suite import ALL, BEST, SCALED, Entry, Suite
from training.distillation import STEPS
from training.distillation.methods import METHODS
from training.distillation.weighers import WEIGHERS
from training.engine.metrics import better
from training.engine.recipe import Choice, recipe_of
from training.engine.tables import Table

Survey = Mapping[str, Any]
"""Of a task, as `bench.jobs.survey` returns it."""


class NoTeacherError(Exception):
    """None of the teachers that an entry wants is there."""


def entry_recipe(
    suite: Suite, entry: Entry, task: str, survey: Survey, seed: int, scale: float = 1.0, factor: float = 1.0
) -> Table:
    """Return the recipe of an entry's run.

    Args:
        suite, entry, task: what is run.
        survey: says which teachers there are, and which is best.
        seed: of the run.
        scale: factor of the budget's steps or epochs.
        factor: of the first method's weights.

    Raises:
        NoTeacherError: all teachers that it wants are missing.
    """
    recipe: Table = copy.deepcopy(
        {**suite.base, **suite.base_of.get(task, {}), **entry.recipe, **entry.recipe_of.get(task, {})}
    )
    budget = dict(suite.budgets[task])
    if "steps" in budget:
        budget["steps"] = max(1, round(scale * budget["steps"]))
    else:
        budget["epochs"] *= scale
    if recipe.get("teachers") in (ALL, BEST):
        pool = available(suite.pools[task], survey, entry.without)
        if not pool:
            raise NoTeacherError(f"{task}: {entry.title} has no teacher: {why_missing(survey)}")
        recipe["teachers"] = pool if recipe["teachers"] == ALL else [best_teacher(pool, survey)]
    if factor != 1.0:
        method = recipe["methods"][0]
        defaults = METHODS[method["name"]].Config()
        for option in SCALED.get(method["name"], ("weight",)):
            method[option] = factor * method.get(option, getattr(defaults, option))
    student = suite.students.get(task, "default")
    return {"student": student, **recipe, "task": task, "name": entry.title, "budget": budget, "seed": seed}


def resolved(recipe: Table) -> Table:
    """Return the recipe with every hyper-parameter of what it names, defaults too: they decide about the result."""
    made = recipe_of(recipe)
    weighers = [made.weigher, *(method.weigher for method in made.methods if method.weigher is not None)]
    options = [_options(METHODS, method) for method in made.methods]
    options += [_options(WEIGHERS, weigher) for weigher in weighers]
    learned = any(WEIGHERS[weigher.name](**weigher.options).meta_learned for weigher in weighers)
    options += [_options(STEPS, step) for step in (*made.step, *([Choice("meta")] if learned else []))]
    return {**recipe, "options": options}


def _options(registry: Mapping[str, type[Any]], choice: Choice) -> Table:
    return asdict(registry[choice.name].Config(**choice.options))


def available(pool: Sequence[str], survey: Survey, without: Sequence[str] = ()) -> list[str]:
    """Return the teachers of the pool that answered, without some."""
    answered = [name for name, said in survey.get("teachers", {}).items() if "error" not in said]
    return [name for name in pool if name in answered and name not in without]


def teachers_used(suite: Suite, pool: Sequence[str]) -> list[str]:
    """Return the teachers of the pool that `BEST` or `ALL` of some entry can mean."""
    entries = [entry for entry in suite.entries if entry.recipe.get("teachers") in (ALL, BEST)]
    return [name for name in pool if any(name not in entry.without for entry in entries)]


def best_teacher(pool: Sequence[str], survey: Survey) -> str:
    """Return the teacher of the pool that is best on validation; of equal ones the first."""
    metric = survey["metric"]
    best = pool[0]
    for name in pool[1:]:
        if better(metric, survey["teachers"][name]["valid"][metric], survey["teachers"][best]["valid"][metric]):
            best = name
    return best


def why_missing(survey: Survey) -> str:
    """Return what the teachers' errors say."""
    if "error" in survey:
        return str(survey["error"])
    errors = [f"{name}: {said['error']}" for name, said in survey["teachers"].items() if "error" in said]
    return "; ".join(errors) or "the entry does without all of them"
