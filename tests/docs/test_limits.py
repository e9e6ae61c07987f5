from pathlib import Path

from server.settings_page import page

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"


def test_the_page_of_limits_is_what_the_settings_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"
