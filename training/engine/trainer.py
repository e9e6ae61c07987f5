"""The loop: one run of distillation, from a recipe to a report, over any number of processes.

It goes on where a checkpoint in its folder ends, bit for bit on a CPU: which samples a step sees and how they are
augmented is a function of seed and step (`training.engine.feed`), everything else that a step changes is in the
checkpoint. Knows nothing of what a step does.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast, broadcast_object_list, gather_object

from training.data.task import Inputs, Split, Task, hooks_of
from training.distillation import Example
from training.distillation.outputs import Output
from training.engine.assembly import Assembly, assemble
from training.engine.checkpoint import (
    ResumeError,
    load_state,
    random_state,
    save_state,
    seed_everything,
    set_random_state,
)
from training.engine.evaluation import outputs_of
from training.engine.feed import stream
from training.engine.metrics import LOWER_IS_BETTER, chosen_by, measure, over_subsets
from training.engine.progress import Progress
from training.engine.recipe import Recipe, recipe_of
from training.engine.result import (
    PREDICTIONS,
    RESULT,
    Report,
    fingerprint_of,
    read_report,
    report_of,
    save_predictions,
    student_facts,
    write_report,
)
from training.engine.schedule import EarlyStopping, evaluation_steps
from training.engine.subsets import drop_modalities, dropout_curve, subset_outputs
from training.engine.tables import RecipeError
from training.engine.watchers import Watcher

CHECKPOINT = "checkpoint.pt"
STUDENT = "student.pt"


def distil(recipe: Recipe, task: Task, folder: Path, watchers: Sequence[Watcher] = ()) -> Report:
    """Run a recipe, or what is left of it, and return the report that `result.json` in its folder holds.

    The folder takes `checkpoint.pt`, from which a killed run goes on, `student.pt`, the weights that were best on
    validation, the report, and `predictions.npz` where the recipe wants it. A finished run is not repeated. On several
    processes (`accelerate launch`, `torchrun`), each trains on its part of every batch and all evaluate alike; the
    first one writes.

    Raises:
        RecipeError: the recipe doesn't fit the task.
        TeacherError: a teacher's weights or package are missing.
        ResumeError: what is in the folder is another recipe's.
        FloatingPointError: the run diverged.
    """
    if (folder / RESULT).is_file():
        return _finished(recipe, folder / RESULT)
    AcceleratorState._reset_state()  # An earlier run of this process may have had another precision.
    accelerator = Accelerator(mixed_precision=recipe.precision)
    run = assemble(recipe, task, accelerator)
    progress = _resume(run, folder)
    due = evaluation_steps(run.total_steps, recipe.budget.evaluations)
    with ExitStack() as stack:
        watching = [stack.enter_context(watcher) for watcher in watchers if accelerator.is_main_process]
        for watcher in watching:
            watcher.begin(f"{task.name}: {recipe.title}", progress.step, run.total_steps)
        run.distiller.train()
        while progress.step < run.total_steps and not progress.stopped:
            with progress.watch.of("loading"):
                example = _load(run, progress.step)
            with progress.watch.of("computing"):
                progress.count(run.train_on(example))
            for watcher in watching:
                watcher.stepped(progress.step)
            if progress.step in due:
                with progress.watch.of("evaluating"):
                    row = _evaluate(run, progress)
                    _save(run, progress, folder)
                for watcher in watching:
                    watcher.evaluated(progress.step, row)
    return _finish(run, progress, folder)


def measured(task: Task, output: Output, split: Split) -> dict[str, Any]:
    """Return what is measured of outputs for all samples of a split, the task's own measures with it."""
    samples, own = task.samples(split), hooks_of(task).measures
    return measure(output, samples, task.labels) | (own(output, samples) if own is not None else {})


def _load(run: Assembly, step: int) -> Example:
    """The examples of a step, augmented; the same ones whenever it's asked for."""
    generator = stream(run.recipe.seed, "augment", step, run.accelerator.process_index)

    def augment(inputs: Inputs) -> Inputs:
        inputs = run.task.augment(inputs, generator)
        rate = run.recipe.modality_dropout
        return drop_modalities(inputs, rate, generator) if rate else inputs

    index = run.order.at(step)
    example = run.source.example(index, step, augment)
    if run.order.processes > 1 and run.source.samples.unit is not None:
        weights = torch.full((len(index),), run.order.sample_weight(step), device=run.accelerator.device)
        return replace(example, sample_weights=weights)
    return example


def _answers(run: Assembly, split: Split) -> Output:
    return outputs_of(run.distiller.student, run.task.samples(split), run.accelerator.device)


def _evaluate(run: Assembly, progress: Progress) -> dict[str, float]:
    """Measure validation, keep the student if it's the best so far, and decide whether to go on."""
    _share_buffers(run)
    with np.errstate(invalid="ignore"):  # NaN is answered by `update` below.
        measures = measured(run.task, _answers(run, "valid"), "valid")
        if run.task.metric not in measures:
            raise KeyError(f"the task's metric {run.task.metric!r} was not measured; there are {', '.join(measures)}")
        if run.recipe.modality_dropout:
            measures[over_subsets(run.task.metric)] = _mean_over_subsets(run)
    row = progress.close_row({name: value for name, value in measures.items() if isinstance(value, float)})
    if progress.stopping.update(chosen_by(run.task.metric, measures), progress.step):
        weights = run.distiller.student.state_dict()
        progress.best = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
    if progress.stopping.exhausted:
        progress.stopped = "patience"
    elif 0 < run.recipe.budget.seconds <= progress.watch.total:
        progress.stopped = "seconds"
    if run.accelerator.num_processes > 1:
        # Clocks differ, and so may the last bits of sums on a GPU: the first process decides.
        progress.stopped = str(broadcast_object_list([progress.stopped])[0])
    return row


def _mean_over_subsets(run: Assembly) -> float:
    """The task's metric on validation, averaged over the subsets of modalities."""
    valid = run.task.samples("valid")
    outputs = subset_outputs(run.distiller.student, valid, run.accelerator.device)
    return fmean(measure(output, valid, run.task.labels)[run.task.metric] for output in outputs.values())


def _share_buffers(run: Assembly) -> None:
    """Give every process the first one's running means and queues, so that one checkpoint serves all."""
    if run.accelerator.num_processes > 1:
        for buffer in run.distiller.buffers():
            buffer.copy_(broadcast(buffer.contiguous()))


def _save(run: Assembly, progress: Progress, folder: Path) -> None:
    several = run.accelerator.num_processes > 1
    generators = gather_object([random_state()]) if several else [random_state()]
    if run.accelerator.is_main_process:
        state = {"recipe": run.recipe.table(), "data": run.task.fingerprint(), "random": generators}
        save_state({**state, "progress": progress.state(), "run": run.state()}, folder / CHECKPOINT)


def _resume(run: Assembly, folder: Path) -> Progress:
    """Return where the folder's checkpoint stands, with `run` put there; a fresh start where there is none."""
    rank, processes = run.accelerator.process_index, run.accelerator.num_processes
    state = load_state(folder / CHECKPOINT)
    if state is None:
        seed_everything(run.recipe.seed, rank)
        return Progress(stopping=EarlyStopping(run.recipe.budget.patience, run.task.metric in LOWER_IS_BETTER))
    _require_same(run.recipe, state["recipe"], folder)
    if state["data"] != run.task.fingerprint():
        raise ResumeError(f"{folder}: the checkpoint was made on other data of {run.task.name!r}; give another folder")
    if len(state["random"]) != processes:
        raise ResumeError(f"{folder}: the checkpoint is of {len(state['random'])} processes, this run has {processes}")
    run.load_state(state["run"])
    set_random_state(state["random"][rank])
    return Progress.of_state(state["progress"])


def _finish(run: Assembly, progress: Progress, folder: Path) -> Report:
    """Measure the chosen student; the test split is touched here, once."""
    student = run.distiller.student
    student.load_state_dict(progress.best)
    calibrate = hooks_of(run.task).calibrate
    if calibrate is not None:
        calibrate(student, _answers(run, "valid"), run.task.samples("valid"))
        progress.best = {name: tensor.detach().cpu().clone() for name, tensor in student.state_dict().items()}
    answers: dict[Split, Output] = {split: _answers(run, split) for split in ("valid", "test")}
    test = run.task.samples("test")
    on_subsets = subset_outputs(student, test, run.accelerator.device) if run.recipe.subsets else {}
    metrics = _final_measures(run, answers, on_subsets)
    if run.recipe.modality_dropout:
        metrics["valid"][over_subsets(run.task.metric)] = progress.stopping.best
    teachers = {name: fingerprint_of(output) for name, output in run.source.teachers.items()}
    data = {"sha256": run.task.fingerprint(), "teachers": teachers}
    facts = student_facts(student.cpu().eval(), run.task.samples("valid"))
    report = report_of(run.recipe, progress, metrics, data, facts, run.accelerator.num_processes)
    if run.accelerator.is_main_process:
        save_state(progress.best, folder / STUDENT)
        if run.recipe.predictions:
            save_predictions(answers["test"], test, folder / PREDICTIONS, on_subsets)
        if progress.weights.steps:
            progress.weights.save(folder / "weights.csv")
        write_report(report, folder / RESULT)
    run.accelerator.wait_for_everyone()
    return report


def _final_measures(run: Assembly, answers: Mapping[Split, Output], on_subsets: Mapping[str, Output]) -> dict[str, Any]:
    """What the report says of the chosen student, by split; besides, by subset and rate on test where asked for."""
    task, test = run.task, run.task.samples("test")
    metrics: dict[str, Any] = {split: measured(task, output, split) for split, output in answers.items()}
    if on_subsets:
        metrics["subsets"] = {subset: measure(output, test, task.labels) for subset, output in on_subsets.items()}
        metrics["dropout"] = dropout_curve(run.distiller.student, test, task.labels, run.accelerator.device)
    return metrics


def _finished(recipe: Recipe, path: Path) -> Report:
    report = read_report(path)
    _require_same(recipe, report["recipe"], path.parent)
    return report


def _require_same(recipe: Recipe, other: dict[str, Any], folder: Path) -> None:
    """Compare as recipes: one that was written before a setting existed ran with its default."""
    try:
        earlier = recipe_of(other)
    except RecipeError as error:
        raise ResumeError(
            f"{folder} holds a run of a recipe that cannot be read ({error}): give another folder, or remove it"
        ) from error
    names = [field.name for field in fields(recipe)]
    different = [name for name in names if getattr(recipe, name) != getattr(earlier, name)]
    if different:
        raise ResumeError(
            f"{folder} holds a run of another recipe ({', '.join(different)} differ): give another folder, or remove it"
        )
