"""Runs in worker processes: one torch thread each, a few side by side, and a crash of one leaves the others alone.

Knows how to run a recipe on a task somewhere else; nothing of suites.
"""

import multiprocessing
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.data.calibration import fit_temperature
from training.data.task import Samples, Split, Task
from training.distillation import Output
from training.engine.evaluation import outputs_of
from training.engine.metrics import measure
from training.engine.recipe import recipe_of
from training.engine.result import PREDICTIONS, fingerprint_of
from training.engine.tables import Table
from training.engine.trainer import CHECKPOINT, STUDENT, distil

Answer = dict[str, Any]


@dataclass(frozen=True)
class TaskSource:
    """Where a worker gets its task from: the callable `name` in a registry, called with the data folder."""

    name: str
    data: Path
    registry: str = "training.data.tasks:TASKS"
    """`module:attribute` of a mapping."""


@dataclass(frozen=True)
class Job:
    """One run."""

    title: str
    """For logs."""
    source: TaskSource
    recipe: Table
    folder: Path


def run_job(job: Job) -> Answer:
    """Run a job here and return its report; an error becomes `{"error": ...}`, with its trace in the folder."""
    try:
        task = make_task(job.source)
        report = distil(recipe_of(job.recipe), task, job.folder)
        report["metrics"]["test"] |= calibrated(task, report["recipe"]["student"], job.folder)
    except Exception as error:  # One run must not end a suite: what went wrong is recorded, and shown by the report.
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / "error.txt").write_text(traceback.format_exc())
        return {"error": f"{type(error).__name__}: {error}"}
    (job.folder / CHECKPOINT).unlink(missing_ok=True)  # The report supersedes it.
    return report


def calibrated(task: Task, student: str, folder: Path) -> dict[str, float]:
    """Return `scaled_ece`, the calibration error on test of a finished run after temperature scaling.

    The temperature is fitted on validation (Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017). Nothing
    for scores without classes.
    """
    if not (folder / PREDICTIONS).is_file():
        return {}
    with np.load(folder / PREDICTIONS) as kept:
        logits = torch.from_numpy(kept["logits"]) if "logits" in kept.files else None
    valid, test = task.samples("valid"), task.samples("test")
    if logits is None or valid.target is None:
        return {}
    net = task.student(student)
    net.load_state_dict(torch.load(folder / STUDENT, weights_only=True))
    answered = outputs_of(net, valid, torch.device("cpu")).logits
    assert answered is not None
    temperature = fit_temperature(answered, valid.target)
    return {"scaled_ece": measure(Output(logits / temperature), test, task.labels)["ece"]}


def survey(source: TaskSource, teachers: tuple[str, ...]) -> Answer:
    """Return the task's fingerprint, how much of test has a label, and of each teacher the metrics on validation and
    test and a fingerprint.

    A teacher that can't be had is an `error` in its place.
    """
    task = make_task(source)
    found: Answer = {"sha256": task.fingerprint(), "metric": task.metric, "labels": list(task.labels), "teachers": {}}
    found["samples"], found["chance"] = _counted(task.samples("test")), _chance(task)
    for name in teachers:
        try:
            found["teachers"][name] = _survey_one(task, name)
        except Exception as error:  # Recorded in the place of the numbers.
            found["teachers"][name] = {"error": f"{type(error).__name__}: {error}"}
    return found


@cache
def make_task(source: TaskSource) -> Task:
    """Make a task once a process: its samples and caches serve all runs of the worker."""
    module, _, attribute = source.registry.partition(":")
    task: Task = getattr(import_module(module), attribute)[source.name](source.data)
    return task


class Workers:
    """Worker processes side by side, each with a queue of one; a context that ends them."""

    def __init__(self, count: int) -> None:
        self._free: queue.SimpleQueue[ProcessPoolExecutor] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(count)
        for _ in range(count):
            self._free.put(_worker())

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        while not self._free.empty():
            self._free.get().shutdown()

    def run(self, jobs: Iterable[Job], until: float = float("inf")) -> Iterator[tuple[Job, Answer]]:
        """Run jobs in their order, a worker each; yield each with its report when it's done.

        None starts after `until`, on the monotonic clock; those that didn't are not yielded.
        """

        def start(job: Job) -> Answer:
            return self._call(run_job, job) if time.monotonic() < until else {}

        futures: dict[Future[Answer], Job] = {self._threads.submit(start, job): job for job in jobs}
        for future in as_completed(futures):
            if answer := future.result():
                yield futures[future], answer

    def survey(self, source: TaskSource, teachers: tuple[str, ...]) -> Answer:
        """Run `survey` in a worker."""
        return self._threads.submit(self._call, survey, source, teachers).result()

    def _call(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call in a free worker; one that dies of it, killed for memory, say, is replaced, and that is the answer."""
        worker = self._free.get()
        try:
            return worker.submit(function, *arguments).result()
        except BrokenProcessPool:
            worker.shutdown()
            worker = _worker()
            return {"error": "the worker process died"}
        finally:
            self._free.put(worker)


def _counted(samples: Samples) -> Answer:
    """How many samples have a label, how many recordings or conversations they are of, and how many samples the
    commonest class has."""
    counted: Answer = {"test": len(samples)}
    units = len(set(samples.cluster.tolist()))
    if units < len(samples):
        counted["units"] = units
    if samples.target is not None:
        classes = samples.target[samples.target >= 0].bincount()
        counted |= {"test": int(classes.sum()), "majority": int(classes.max())}
    return counted


def _chance(task: Task) -> float:
    """The task's metric on validation of whoever always answers the commonest class, and the mean score."""
    samples = task.samples("valid")
    classes = score = None
    if samples.target is not None:
        commonest = samples.target[samples.target >= 0].bincount(minlength=len(task.labels)).argmax()
        classes = torch.eye(len(task.labels))[commonest].expand(len(samples), -1)
    if samples.score is not None:
        score = samples.score.nanmean().expand(len(samples))
    return float(measure(Output(classes, score), samples, task.labels).get(task.metric, float("nan")))


def _survey_one(task: Task, name: str) -> Answer:
    bank = task.teacher(name)
    splits: tuple[Split, ...] = ("valid", "test")
    outputs = {split: bank.outputs(split) for split in splits}
    measures: Answer = {split: measure(output, task.samples(split), task.labels) for split, output in outputs.items()}
    return {**measures, "sha256": fingerprint_of(outputs["valid"])}


def _worker() -> ProcessPoolExecutor:
    # Spawned: a fork of a process in which torch has threads may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
