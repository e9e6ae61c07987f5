from pathlib import Path

import pytest

import training.methods_page
from training.catalogue import catalogue
from training.methods_page import render_methods, write_methods

PAGE = Path(__file__).parents[2] / "docs/methods.md"


def test_the_page_of_methods_is_what_the_docstrings_give():
    assert PAGE.read_text() == render_methods(), "run `python -m training report`"


def test_everything_that_distils_has_a_section_that_the_index_points_to():
    text = render_methods()
    for entry in catalogue():
        title = entry.name if entry.kind == "method" else f"{entry.name} ({entry.kind})"
        anchor = title.lower().replace(" ", "-").translate({ord("("): None, ord(")"): None})
        assert f"\n### {title}\n" in text
        assert text.count(f"(#{anchor})") == 1
        for parameter in entry.parameters:
            assert f"| `{parameter.name}` |" in text


def test_a_family_without_a_title_is_named(monkeypatch, tmp_path):
    strange = [entry for entry in catalogue() if entry.name == "kd"]
    object.__setattr__(strange[0], "family", "Z")
    monkeypatch.setattr(training.methods_page, "catalogue", lambda: strange)
    with pytest.raises(ValueError, match=r"training\.methods\.kd: family 'Z' has no title"):
        write_methods(tmp_path / "page.md")
    assert not (tmp_path / "page.md").exists()
