"""Measures the large nets that teach conversations, seed by seed, and writes docs/results/conversation_teachers.json.

    python -m training.teachers.conversation_teachers --data DIR

What a student is taught by is one seed of them, out of fold; what such a net scores in general is the mean over seeds:
each is trained on all training conversations, and validation chooses its epoch. An ensemble is the mean of the logits
of all nets of a seed.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer

from training.data.conversations import Conversations
from training.data.folder import DATA_VARIABLE, data_root
from training.data.mosi import Mosi, MosiPublished
from training.distillation.outputs import Output
from training.engine.metrics import measure
from training.engine.result import Report, student_facts
from training.teachers.trained import mean_of, outputs_of, train_net

ENSEMBLE: Final = "ensemble"
_NETS: Final[Mapping[str, tuple[str, ...]]] = {"mosi": Mosi.net_names, "mosi_published": ("bc_lstm", "gated")}
_KEPT: Final = ("accuracy", "weighted_f1", "acc7", "mae", "pearson")


def scores(task: Conversations, nets: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Return by net, and for their ensemble where there are several, the measures on test by seed.

    Returns:
        Name -> `parameters`, `cpu_ms` (of one utterance, on one thread; median over seeds), and by measure a list, one
        value a seed.
    """
    found: dict[str, Any] = {}
    answers: dict[str, list[Output]] = {}
    test = task.samples("test")
    for name in nets:
        trained = [_trained(task, name, seed) for seed in seeds]
        answers[name] = [output for output, _ in trained]
        facts = [facts for _, facts in trained]
        found[name] = {
            "parameters": facts[0]["parameters"],
            "cpu_ms": statistics.median(one["cpu_ms"] for one in facts),
        }
    if len(nets) > 1:
        found[ENSEMBLE] = {fact: sum(found[name][fact] for name in nets) for fact in ("parameters", "cpu_ms")}
        answers[ENSEMBLE] = [mean_of([answers[name][i] for name in nets]) for i in range(len(seeds))]
    for name, outputs in answers.items():
        measured = [measure(output, test, task.labels) for output in outputs]
        found[name] |= {kept: [round(one[kept], 4) for one in measured] for kept in _KEPT}
        print(f"{task.name} {name}: accuracy {sum(found[name]['accuracy']) / len(seeds):.2f}", flush=True)
    return found


def _trained(task: Conversations, name: str, seed: int) -> tuple[Output, Report]:
    """What one net says about test, and `student_facts` about it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = task.student(name)
        train_net(net, task.samples("train"), task.augment, replace(task.teaching, seed=seed), task.samples("valid"))
    test = task.samples("test")
    return outputs_of(net, test.inputs, unit=test.unit), student_facts(net.eval(), test)


def main(
    data: Annotated[Path | None, typer.Option(help="Research data.", envvar=DATA_VARIABLE)] = None,
    out: Annotated[Path, typer.Option(help="Report.")] = Path("docs/results/conversation_teachers.json"),
    seeds: Annotated[int, typer.Option(help="How many, from 0.", min=1)] = 20,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 1,
) -> None:
    """Measure the large nets of mosi, and bc-LSTM of mosi_published."""
    torch.set_num_threads(threads)
    report: dict[str, Any] = {
        "command": "python -m training.teachers.conversation_teachers",
        "seeds": seeds,
        "tasks": {},
    }
    for make in (Mosi, MosiPublished):
        task = make(data_root(data))
        report["tasks"][task.name] = scores(task, _NETS[task.name], range(seeds))
        out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
