from pathlib import Path

from bench.report import render
from bench.suite import suites

DOCS = Path(__file__).parents[2] / "docs"


def test_the_pages_of_results_are_what_the_committed_tables_give():
    for name, text in render(DOCS / "results", suites()).items():
        assert (DOCS / name).read_text() == text, f"{name}: run `python -m bench report`"


def test_what_the_pages_show_is_there():
    for page in (DOCS / "results.md", *(DOCS / "suites").glob("*.md")):
        for line in page.read_text().splitlines():
            if line.startswith("!["):
                assert (page.parent / line.rpartition("(")[2].rstrip(")")).is_file(), line


def test_the_raw_results_are_small():
    assert sum(file.stat().st_size for file in (DOCS / "results").rglob("*")) < 600_000
