import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.methods_page import render_methods, write_methods
from training.distillation.catalogue import catalogue
from training.distillation.methods import METHODS
from training.distillation.methods.kd import KD

PAGE = Path(__file__).parents[2] / "docs/methods.md"


@dataclass(frozen=True)
class SilentConfig:
    temperature: float = 4.0
    """T."""
    undocumented: float = 1.0


class Silent(KD):
    """Has an option that nobody explained."""

    Config = SilentConfig


class Strange(KD):
    """Belongs to no family that the page knows."""

    family = "Z"


def test_the_page_of_methods_is_what_the_docstrings_give():
    assert PAGE.read_text() == render_methods(), "run `python -m bench report`"


def test_everything_that_distils_has_a_section_that_the_index_points_to():
    text = render_methods()
    parts = re.split(r"^### (.+)\n", text, flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    assert len(sections) == len(catalogue())
    for entry in catalogue():
        title = entry.name if entry.kind == "method" else f"{entry.name} ({entry.kind})"
        anchor = title.lower().replace(" ", "-").translate({ord("("): None, ord(")"): None})
        assert text.count(f"(#{anchor})") == 1
        section = sections[title]
        assert f"`{entry.module}`" in section
        assert set(re.findall(r"\b\d{4}\b", entry.paper)) <= set(re.findall(r"\b\d{4}\b", section)), "its paper"
        assert re.search(r"\n\n    \S.*\n", section), "its equation, as a block of code"
        for parameter in entry.parameters:
            assert f"\n| `{parameter.name}` |" in section


def test_options_without_a_docstring_and_families_without_a_title_are_named(monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    monkeypatch.setitem(METHODS, "silent", Silent)
    with pytest.raises(ValueError, match=r"SilentConfig\.undocumented has no docstring under it"):
        write_methods(page)
    monkeypatch.setitem(METHODS, "silent", Strange)
    with pytest.raises(ValueError, match=r"family 'Z' has no title in bench\.methods_page"):
        write_methods(page)
    assert not page.exists()
