import subprocess
from pathlib import Path

from bench.lines import lines_of, table


def test_lines_are_those_of_the_commit_and_of_now(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--quiet")
    for folder in ("training/deep", "bench", "docs"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text("one\n\nthree\n")
    (tmp_path / "training/x_pb2.py").write_text("generated\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    (tmp_path / "bench/a.py").write_text("one\n")
    before, now = lines_of(tmp_path, "HEAD"), lines_of(tmp_path)
    assert (before["training"], before["bench"], now["bench"], now["docs"]) == (3, 3, 1, 0)
    assert {name: (a, b) for name, a, b in table(before, now)}["training + bench"] == (6, 4)
