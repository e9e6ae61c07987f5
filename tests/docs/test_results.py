from pathlib import Path

from bench.report import render

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_results_is_what_the_committed_files_give():
    assert (DOCS / "results.md").read_text() == render(DOCS / "results"), "run `python -m bench report`"
