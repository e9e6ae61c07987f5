"""Runs a suite: asks the teachers, chooses weights on validation, runs every entry with every seed, and writes one
JSON.

A run is found again by what it depends on (recipe, data, teachers), so that a suite that was interrupted, or got one
more entry, computes only what is missing. A failing run is recorded with its error, and the suite goes on.
"""

import hashlib
import json
import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.comparisons import compare_entries
from bench.entries import NoTeacherError, Survey, available, entry_recipe, resolved, why_missing
from bench.jobs import Answer, Job, Lanes, TaskSource
from bench.records import run_record, trial_record, without_bulk
from bench.suite import Entry, Suite
from training.engine.metrics import better, chosen_by
from training.engine.result import Report, machine_facts, write_report
from training.engine.tables import RecipeError, Table
from training.names import nearest

log = logging.getLogger(__name__)
FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """How a suite is run on this machine."""

    data: Path
    """The research data."""
    cache: Path
    """Takes a folder a run."""
    out: Path
    """The suite's JSON; what it says about tasks that are not run this time stays."""
    tasks: tuple[str, ...] = ()
    """Of the suite; empty: all."""
    jobs: int = 2
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
            if name not in suite.pools:
                raise RecipeError(f"suite {suite.name} has no task {name!r}; {nearest(name, suite.pools)}")
        self.suite, self.plan = suite, plan
        self.surveys: dict[str, Survey] = {}
        self.answers: dict[str, Answer] = {}
        """By folder of the run."""
        self._until = time.monotonic() + 60 * plan.minutes if plan.minutes else float("inf")

    def run(self) -> Report:
        """Run what is missing and return the suite's JSON; it's written after every round, so nothing is lost."""
        tasks = self.plan.tasks or tuple(self.suite.pools)
        report: Report = {}
        with Lanes(self.plan.jobs) as lanes:
            for task in tasks:
                self._survey(lanes, task)
            self._work(lanes, "trials", list(self._trials()))
            for seed in self.suite.seeds:
                jobs = list(self._finals(seed))
                if report and not jobs:
                    continue  # No task has so many seeds.
                self._work(lanes, f"seed {seed}", jobs)
                report = self._report()
                write_report(report, self.plan.out)
                if time.monotonic() > self._until:
                    break
        return report

    def _survey(self, lanes: Lanes, task: str) -> None:
        """Ask the task's teachers, and tell what they score."""
        log.info("%s: asking the teachers %s", task, ", ".join(self.suite.pools[task]))
        survey = lanes.survey(TaskSource(task, self.plan.data, self.plan.registry), self.suite.pools[task])
        self.surveys[task] = survey
        for name in available(self.suite.pools[task], survey):
            log.info("%s: %s has %s %.2f on validation", task, name, survey["metric"], _valid(survey, name))
        if "error" in survey or len(available(self.suite.pools[task], survey)) < len(self.suite.pools[task]):
            log.error("%s: not everyone answered: %s", task, why_missing(survey))

    def _trials(self) -> Iterator[Job]:
        """Short runs of every entry with every factor, with the first seeds."""
        for task, entry in self._pairs():
            for factor in entry.factors:
                yield from self._trials_of(entry, task, factor)

    def _trials_of(self, entry: Entry, task: str, factor: float) -> Iterator[Job]:
        for seed in self.suite.seeds[: self.suite.trial_seeds]:
            yield from self._jobs(entry, task, seed, factor, trial=True)

    def _finals(self, seed: int) -> Iterator[Job]:
        for task, entry in self._pairs():
            if seed in self.suite.seeds_for(task):
                yield from self._jobs(entry, task, seed, self._chosen(entry, task))

    def _pairs(self) -> Iterator[tuple[str, Entry]]:
        """Tasks and entries, one task after the other."""
        for task, survey in self.surveys.items():
            if "error" not in survey:
                yield from ((task, entry) for entry in self.suite.entries_of(task))

    def _chosen(self, entry: Entry, task: str) -> float:
        """Return the factor that did best on validation; 1 where nothing was tried or nothing worked."""
        metric, chosen, best = self.surveys[task]["metric"], 1.0, float("nan")
        for factor in entry.factors:
            values = [
                _metric(self.answers.get(str(job.folder), {}), metric) for job in self._trials_of(entry, task, factor)
            ]
            value = statistics.fmean(values) if values else float("nan")
            if value == value and (best != best or better(metric, value, best)):
                chosen, best = factor, value
        return chosen

    def _jobs(self, entry: Entry, task: str, seed: int, factor: float, trial: bool = False) -> Iterator[Job]:
        """The job of one run; none where no teacher is there."""
        scale = self.plan.scale * (self.suite.tuning if trial else 1.0)
        survey = self.surveys[task]
        try:
            recipe = entry_recipe(self.suite, entry, task, survey, seed, scale, factor)
        except NoTeacherError as error:
            log.error("%s", error)
            return
        folder = self.plan.cache / task / _key(recipe, survey)
        title = f"{task}: {entry.title} x {factor:g}, seed {seed}"
        yield Job(title, TaskSource(task, self.plan.data, self.plan.registry), recipe, folder)

    def _work(self, lanes: Lanes, what: str, jobs: Sequence[Job]) -> None:
        """Run what has no answer yet; what was computed earlier comes back at once."""
        wanted = {str(job.folder): job for job in jobs if str(job.folder) not in self.answers}
        started = time.monotonic()
        for count, (job, answer) in enumerate(lanes.run(wanted.values(), self._until), 1):
            self.answers[str(job.folder)] = answer
            spent = time.monotonic() - started
            said = answer.get("error") or _said(answer, self.surveys[job.source.name]["metric"])
            log.info("[%s %d/%d, %.0f s] %s: %s", what, count, len(wanted), spent, job.title, said)
        if len(wanted) > sum(folder in self.answers for folder in wanted):
            log.warning("%s: out of time, some runs were not started", what)

    def _report(self) -> Report:
        """Put together what is known: earlier tasks from the file, this time's from the answers."""
        earlier = _read_earlier(self.plan.out)
        runs = [run for run in earlier.get("runs", []) if run["task"] not in self.surveys]
        trials = [run for run in earlier.get("trials", []) if run["task"] not in self.surveys]
        for task, entry in self._pairs():
            factor = self._chosen(entry, task)
            for seed in self.suite.seeds_for(task):
                runs += self._records(entry, self._jobs(entry, task, seed, factor), factor)
            for factor in entry.factors:
                records = self._records(entry, self._trials_of(entry, task, factor), factor)
                trials += [trial_record(record, self.surveys[task]["metric"]) for record in records]
        tasks = {**earlier.get("tasks", {}), **{task: without_bulk(survey) for task, survey in self.surveys.items()}}
        return {
            "format": FORMAT,
            "suite": self.suite.name,
            "command": f"python -m training bench {self.suite.name}",
            "scale": self.plan.scale,
            **machine_facts(self.plan.jobs),
            "tasks": tasks,
            "runs": runs,
            "trials": trials,
            **({"comparisons": self._comparisons(earlier)} if self.suite.tests else {}),
        }

    def _comparisons(self, earlier: Report) -> list[Report]:
        """Those of this time's tasks, and earlier ones of the others."""
        found = [one for one in earlier.get("comparisons", []) if one["task"] not in self.surveys]
        for task in self.surveys:
            found += compare_entries(self.suite, task, self._folders(task))
        return found

    def _folders(self, task: str) -> dict[str, dict[int, Path]]:
        """Title -> seed -> folder of the runs that have answered."""
        folders: dict[str, dict[int, Path]] = {}
        for entry in self.suite.entries_of(task):
            for seed in self.suite.seeds_for(task):
                for job in self._jobs(entry, task, seed, self._chosen(entry, task)):
                    if str(job.folder) in self.answers:
                        folders.setdefault(entry.title, {})[seed] = job.folder
        return folders

    def _records(self, entry: Entry, jobs: Iterator[Job], factor: float) -> list[Report]:
        return [
            run_record(self.suite, entry, job, factor, self.answers[str(job.folder)])
            for job in jobs
            if str(job.folder) in self.answers
        ]


def _key(recipe: Table, survey: Survey) -> str:
    """Name of a run's folder: a hash of everything that its result depends on, but the code."""
    teachers = {name: survey["teachers"][name]["sha256"] for name in recipe.get("teachers", [])}
    content = json.dumps([resolved(recipe), survey["sha256"], teachers], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def _valid(survey: Survey, teacher: str) -> float:
    return float(survey["teachers"][teacher]["valid"][survey["metric"]])


def _metric(answer: Answer, metric: str) -> float:
    """What the run was chosen by on validation; NaN for a run that failed."""
    return chosen_by(metric, answer["metrics"]["valid"]) if "metrics" in answer else float("nan")


def _said(answer: Answer, metric: str) -> str:
    seconds = sum(answer["seconds"].values())
    metrics = answer["metrics"]
    loading = answer["seconds"]["loading"] / max(1e-9, answer["seconds"]["loading"] + answer["seconds"]["computing"])
    return (
        f"{metric} {metrics['valid'][metric]:.2f} valid, {metrics['test'][metric]:.2f} test, {seconds:.0f} s "
        f"({loading:.0%} loading), {answer['peak_memory_mib']} MiB"
    )


def _read_earlier(path: Path) -> Report:
    return json.loads(path.read_text()) if path.is_file() else {}
