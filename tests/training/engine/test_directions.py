"""Hypergraphs, attention over their hyperedges, and weights learned on held-out conversations, all at once."""

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from bench.suite import FOLDER, read_suite
from tests.training.engine.toy import TalkTask
from training.engine.assembly import assemble, teacher_outputs
from training.engine.checkpoint import load_state
from training.engine.feed import Source
from training.engine.recipe import Recipe, read_recipe, recipe_of
from training.engine.trainer import CHECKPOINT, distil

RECIPE = tomllib.loads("""
task = "talk"
teachers = ["good", "fair"]
weigher = { name = "attention_select", learn_from = "meta" }

[[methods]]
name = "hypergraph"
edges = "weigher"

[[step]]
name = "meta"
every = 2
batch_size = 4   # conversations
buffer_size = 16

[budget]         # batches of conversations
steps = 12
batch = 8
evaluations = 3
learning_rate = 2e-3
patience = 8
""")
ROOT = Path(__file__).resolve().parents[3]
HYPEREDGES = {"good.fused.context", "fair.fused.context", "utterance"}


def test_attention_over_hyperedges_learns_on_held_out_conversations(tmp_path: Path) -> None:
    recipe = recipe_of(RECIPE)
    assert recipe.needs_held_out
    report = distil(recipe, TalkTask(), tmp_path)
    course = report["weights"]
    assert set(course) == {"steps", *(f"hypergraph/{edge}" for edge in HYPEREDGES)}
    shares = torch.tensor([values for name, values in course.items() if name != "steps"])
    torch.testing.assert_close(shares.sum(0), torch.ones(3), atol=1e-4, rtol=0)
    assert shares[:, -1].max() - shares[:, -1].min() > 1e-3, "they were learned"
    assert report["history"][-1]["meta/outer_loss"] > 0


def test_the_weights_of_test_samples_are_read_out_of_a_finished_run(tmp_path: Path) -> None:
    """As docs/future.md shows it."""
    recipe, task = recipe_of(RECIPE), TalkTask()
    distil(recipe, task, tmp_path)

    run = assemble(recipe, task, Accelerator())
    state = load_state(tmp_path / CHECKPOINT)
    assert state is not None
    run.load_state(state["run"])
    test = task.samples("test")
    source = Source(test, teacher_outputs(task, recipe.teachers, "test"), torch.device("cpu"), 0)
    with torch.no_grad():
        weights = run.distiller.eval()(source.example(torch.arange(len(test)))).weights

    assert set(weights) == {f"weight/hypergraph/{edge}" for edge in HYPEREDGES}
    shares = torch.stack(list(weights.values()))
    torch.testing.assert_close(shares.sum(0), torch.ones(len(test)))
    assert (shares.std(dim=1) > 1e-4).all(), "every sample has weights of its own"


@pytest.mark.parametrize(
    "setting",
    ['methods=[{name="graph", edges="weigher"}]', 'weigher="uniform"', 'weigher.learn_from="labels"', 'weigher="meta"'],
)
def test_each_direction_can_be_taken_away(tmp_path: Path, setting: str) -> None:
    settings = ["budget.steps=2", "budget.evaluations=1", setting]
    if "meta" not in setting and "graph" not in setting:
        settings.append("step=[]")
    report = distil(recipe_of(RECIPE, settings), TalkTask(), tmp_path)
    assert report["metrics"]["valid"]["accuracy"] > 0


def test_the_suite_takes_one_thing_at_a_time_away_from_the_recipe() -> None:
    whole = read_recipe(ROOT / "recipes" / "future.toml")
    suite = read_suite(FOLDER / "future.toml")
    teachers = list(whole.teachers)
    entries = {entry.title: recipe_of(suite.recipe_for(entry, "mosi", teachers, whole.seed)) for entry in suite.entries}
    future = entries["future"]
    videos = 52  # For training; a tenth is held out.
    assert future.budget.total_steps(videos) == whole.budget.total_steps(videos - round(videos * whole.held_out))
    assert _different(whole, future) == {"name", "predictions", "budget"}

    assert _different(future, entries["without the hypergraph: graph"]) == {"name", "methods"}
    assert _different(future, entries["without meta-learning"]) == {"name", "weigher", "step"}
    assert _different(future, entries["without attention"]) == {"name", "weigher"}
    assert _different(future, entries["uniform"]) == {"name", "weigher", "step"}
    assert [title for title, recipe in entries.items() if recipe.needs_held_out] == [
        "future",
        "without the hypergraph: graph",
        "without attention",
    ]


def _different(one: Recipe, other: Recipe) -> set[str]:
    return {field.name for field in fields(Recipe) if getattr(one, field.name) != getattr(other, field.name)}
