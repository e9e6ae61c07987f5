"""Python packages that only some teachers need: imported when asked for; an error says how to install them."""

import importlib
from typing import Any

from training.teachers.fetch import TeacherError


def import_package(teacher: str, module: str, package: str) -> Any:
    """Return the module; raises TeacherError when its package is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise TeacherError(f"teacher {teacher} needs the package {package}: run `pip install {package}`") from None
