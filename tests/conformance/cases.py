"""All cases: importing this fills `harness.RULES`."""

from tests.conformance import (  # noqa: F401
    cases_clips,
    cases_faces,
    cases_media,
    cases_resume,
    cases_session,
    cases_windows,
    cases_words,
)
from tests.conformance.harness import RULES

__all__ = ["RULES"]
