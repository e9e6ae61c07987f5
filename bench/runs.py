"""Runs a suite: asks the teachers, searches options on validation, runs every entry with every seed, writes its tables.

A run is found again by what it depends on (recipe, data, teachers, code), so that a suite that was interrupted, or got
one more entry, computes only what is missing. A failing run is recorded with its error, and the suite goes on.
"""

import hashlib
import inspect
import json
import logging
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import training.distillation
import training.engine
from bench import results
from bench.results import Results, Row
from bench.search import Knobs
from bench.suite import BEST, Entry, Suite, choices_of, with_knobs
from bench.workers import Answer, Job, TaskSource, Workers
from training.distillation import METHODS, STEPS, WEIGHERS
from training.engine.metrics import better, chosen_by
from training.engine.result import machine_facts
from training.engine.tables import RecipeError, Table
from training.names import nearest

log = logging.getLogger(__name__)
_ENGINE: Final = ("assembly", "evaluation", "feed", "schedule", "subsets", "trainer")
"""What of the engine decides about a result."""
_WEIGHTS_OF: Final = 5
"""Seeds of which weights at the end are kept."""


@dataclass(frozen=True)
class Plan:
    """How a suite is run on this machine."""

    data: Path
    """The research data, or a folder of clips of one's own."""
    cache: Path
    """Takes a folder a run."""
    out: Path
    """Folder of the tables; what they say about tasks that are not run this time stays."""
    tasks: tuple[str, ...] = ()
    """Of the suite; empty: all."""
    workers: int = 2
    """Runs side by side, one thread each."""
    scale: float = 1.0
    """Factor of all steps, to fit the time: the same for every entry."""
    minutes: float = 0.0
    """No run starts after so many; 0: no limit."""
    registry: str = TaskSource.registry
    """Where tasks come from."""


class Bench:
    """One go at a suite."""

    def __init__(self, suite: Suite, plan: Plan) -> None:
        """Raises RecipeError for a task that the suite hasn't got."""
        for name in plan.tasks:
            if name not in suite.tasks:
                raise RecipeError(f"suite {suite.name} has no task {name!r}; {nearest(name, suite.tasks)}")
        self.suite, self.plan = suite, plan
        self.surveys: dict[str, Answer] = {}
        self.answers: dict[Path, Answer] = {}
        """By folder of the run."""
        self._until = time.monotonic() + 60 * plan.minutes if plan.minutes else float("inf")

    def run(self) -> Results:
        """Run what is missing and return the suite's tables; they are written after every seed, so nothing is lost."""
        with Workers(self.plan.workers) as workers:
            for task in self.plan.tasks or tuple(self.suite.tasks):
                self._survey(workers, task)
            trials = [self._job(*pair, seed, knobs, trial=True) for pair, knobs, seed in self._trials()]
            self._work(workers, "trials", trials)
            found = self._results()
            for seed in range(max(len(self.suite.seeds_of(task)) for task in self.surveys)):
                jobs = [self._job(*pair, seed, self.chosen(*pair)) for pair in self._pairs(seed)]
                self._work(workers, f"seed {seed}", jobs)
                found = self._results()
                results.write(self.plan.out, self.suite.name, found)
                if time.monotonic() > self._until:
                    break
        return found

    def chosen(self, task: str, entry: Entry) -> Knobs:
        """Return the setting that did best on validation; the entry's own where nothing was tried or worked."""
        best: tuple[float, Knobs] | None = None
        for knobs in self._drawn(task, entry):
            value = self._mean(task, entry, knobs)
            if value == value and (best is None or better(self.surveys[task]["metric"], value, best[0])):
                best = value, knobs
        return best[1] if best else {}

    def _survey(self, workers: Workers, task: str) -> None:
        """Ask the task's teachers, and tell what they score."""
        wanted = self.suite.tasks[task].teachers
        log.info("%s: asking the teachers %s", task, ", ".join(wanted))
        survey = workers.survey(TaskSource(task, self.plan.data, self.plan.registry), wanted)
        if "error" in survey:
            log.error("%s: %s", task, survey["error"])
            return
        self.surveys[task] = survey
        for name, said in survey["teachers"].items():
            told = said.get("error") or f"{survey['metric']} {said['valid'][survey['metric']]:.2f} on validation"
            log.info("%s: %s: %s", task, name, told)

    def _pairs(self, seed: int = 0) -> Iterator[tuple[str, Entry]]:
        """Tasks that have the seed and their entries that have a teacher, one task after the other."""
        for task in self.surveys:
            for entry in self.suite.entries_of(task):
                if seed in self.suite.seeds_of(task) and self._teachers(task, entry) is not None:
                    yield task, entry

    def _teachers(self, task: str, entry: Entry) -> list[str] | None:
        """The teachers of an entry; None where it wants some, and none of them answered."""
        said = self.surveys[task]["teachers"]
        metric, wanted = self.surveys[task]["metric"], entry.recipe.get("teachers")
        there = [name for name in self.suite.tasks[task].teachers if "error" not in said[name]]
        there = [name for name in there if name not in entry.without]
        if wanted not in ("ALL", BEST):
            return list(wanted or ()) if set(wanted or ()) <= {n for n in said if "error" not in said[n]} else None
        if wanted == BEST and there:
            best = there[0]
            for name in there[1:]:
                if better(metric, said[name]["valid"][metric], said[best]["valid"][metric]):
                    best = name
            return [best]
        return there or None

    def _drawn(self, task: str, entry: Entry) -> list[Knobs]:
        return self.suite.search.draw(self.suite.ranges_of(entry, task), f"{task}: {entry.title}")

    def _trials(self) -> Iterator[tuple[tuple[str, Entry], Knobs, int]]:
        for task, entry in self._pairs():
            for knobs in self._drawn(task, entry):
                yield from (((task, entry), knobs, seed) for seed in range(self.suite.search.seeds))

    def _mean(self, task: str, entry: Entry, knobs: Knobs) -> float:
        """Mean validation value of a trial; NaN where a run of it failed or is missing."""
        jobs = [self._job(task, entry, seed, knobs, trial=True) for seed in range(self.suite.search.seeds)]
        found = [self.answers.get(job.folder, {"error": "not run"}) for job in jobs]
        if any("error" in answer for answer in found):
            return float("nan")
        return statistics.fmean(chosen_by(self.surveys[task]["metric"], one["metrics"]["valid"]) for one in found)

    def _job(self, task: str, entry: Entry, seed: int, knobs: Knobs, trial: bool = False) -> Job:
        scale = self.plan.scale * (self.suite.search.part if trial else 1.0)
        teachers = self._teachers(task, entry) or []
        recipe = with_knobs(self.suite.recipe_for(entry, task, teachers, seed, scale), knobs)
        source = TaskSource(task, self.plan.data, self.plan.registry)
        title = f"{task}: {entry.title}, {results.spelled(knobs) or 'as it stands'}, seed {seed}"
        return Job(title, source, recipe, self.plan.cache / task / key_of(recipe, self.surveys[task]))

    def _work(self, workers: Workers, what: str, jobs: Sequence[Job]) -> None:
        """Run what has no answer yet; what was computed earlier comes back at once."""
        wanted = {job.folder: job for job in jobs if job.folder not in self.answers}
        started = time.monotonic()
        for count, (job, answer) in enumerate(workers.run(wanted.values(), self._until), 1):
            self.answers[job.folder] = answer
            metric = self.surveys[job.source.name]["metric"]
            said = answer.get("error") or f"{metric} {answer['metrics']['valid'][metric]:.2f} on validation"
            spent = time.monotonic() - started
            log.info("[%s %d/%d, %.0f s] %s: %s", what, count, len(wanted), spent, job.title, said)
        if len(wanted) > sum(folder in self.answers for folder in wanted):
            log.warning("%s: out of time, some runs were not started", what)

    def _results(self) -> Results:
        """Put together what is known of this time's tasks."""
        rows: list[Row] = []
        for task, survey in self.surveys.items():
            said = survey["teachers"].items()
            rows += [results.teacher_row(task, name, survey["metric"], one) for name, one in said]
        for (task, entry), knobs, seed in self._trials():
            rows += self._rows("trial", task, entry, seed, knobs)
        for seed in range(max((len(self.suite.seeds_of(task)) for task in self.surveys), default=0)):
            for task, entry in self._pairs(seed):
                rows += self._rows("run", task, entry, seed, self.chosen(task, entry))
        facts = {
            "suite": self.suite.name,
            "command": f"python -m bench run {self.suite.name}",
            "scale": self.plan.scale,
        }
        tasks = [
            {**facts, **_facts(task, survey), **_machine(self.plan.workers)} for task, survey in self.surveys.items()
        ]
        tests = [{"suite": self.suite.name, **row} for task in self.surveys for row in self._tests(task)]
        return Results(results.frame(rows), results.frame(tests), results.frame(tasks))

    def _rows(self, kind: str, task: str, entry: Entry, seed: int, knobs: Knobs) -> list[Row]:
        answer = self.answers.get(self._job(task, entry, seed, knobs, trial=kind == "trial").folder)
        if answer is None:
            return []
        report = {"metric": self.surveys[task]["metric"], **answer}
        row = results.run_row(kind, task, entry.title, seed, knobs, report)
        if kind == "run" and self.suite.shows_weights and seed < _WEIGHTS_OF and "error" not in answer:
            row["weights"] = results.spelled(results.weights_at_end(answer["weights"]))
        return [row]

    def _tests(self, task: str) -> list[Row]:
        """Every entry against the control, and the suite's pairs."""
        titles = [entry.title for entry in self.suite.entries_of(task)]
        pairs = [(title, self.suite.control) for title in titles if title != self.suite.control]
        pairs += [(a, b) for a, b in self.suite.pairs if {a, b} <= set(titles) and (a, b) not in pairs]
        folders: dict[str, dict[int, Path]] = {}
        for seed in self.suite.seeds_of(task):
            for _, entry in (pair for pair in self._pairs(seed) if pair[0] == task):
                folder = self._job(task, entry, seed, self.chosen(task, entry)).folder
                if "error" not in self.answers.get(folder, {"error": ""}):
                    folders.setdefault(entry.title, {})[seed] = folder
        return results.compare(task, pairs, folders)


def key_of(recipe: Table, survey: Mapping[str, Any]) -> str:
    """Return the name of a run's folder: a hash of everything that its result depends on.

    That is the recipe with every option of what it names, defaults too, the data, the teachers' answers, and the code
    of the loop and of whatever is named.
    """
    chosen = []
    for choice in choices_of(recipe):
        found = [registry[choice["name"]] for registry in (METHODS, WEIGHERS, STEPS) if choice["name"] in registry]
        known = [vars(cls.Config()) | asdict(cls.Config()) for cls in found]
        chosen += [known, *(code_of(cls) for cls in found)]
    teachers = {name: survey["teachers"][name]["sha256"] for name in recipe.get("teachers", [])}
    content = json.dumps([recipe, chosen, survey["sha256"], teachers, loop_code()], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:20]


@cache
def code_of(cls: type[Any]) -> str:
    """Return a hash of the modules of a class and of what it inherits from, torch and Python left out."""
    modules = {base.__module__ for base in cls.__mro__} - {"builtins", "abc", "typing"}
    files = [inspect.getsourcefile(sys.modules[name]) for name in modules if not name.startswith("torch")]
    return _hashed(Path(file) for file in files if file)


@cache
def loop_code() -> str:
    """Return a hash of the distiller and of the engine's modules that decide about a result."""
    engine = Path(inspect.getfile(training.engine)).parent
    distillation = Path(inspect.getfile(training.distillation)).parent
    return _hashed([*distillation.glob("*.py"), *(engine / f"{name}.py" for name in _ENGINE)])


def _hashed(files: Iterator[Path] | Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _facts(task: str, survey: Mapping[str, Any]) -> Row:
    counted = survey["samples"]
    about = {
        "task": task,
        "metric": survey["metric"],
        "labels": "; ".join(survey["labels"]),
        "chance": survey["chance"],
    }
    return {**about, **{name: counted.get(name) for name in ("test", "units", "majority")}, "sha256": survey["sha256"]}


def _machine(workers: int) -> Row:
    facts = machine_facts(workers)
    return {
        "machine": facts["machine"],
        "versions": "; ".join(f"{name} {of}" for name, of in facts["versions"].items()),
    }
