"""Writes `docs/limits.md` from the settings: `python -m server.settings_page > docs/limits.md`."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from server.settings import ServerSettings

_HEAD = """# Settings and limits

Written by `python -m server.settings_page` from `server/settings.py`; do not edit.

Every setting is a flag (`--limits.max-sessions 50`), an environment variable (`MOODSTREAM_LIMITS__MAX_SESSIONS=50`)
and a key of the TOML file given with `--config`; the flag wins, then the environment, then the file.
`python -m server --print-config` shows what is in effect. The ending of a name is its unit: `_s` seconds, `_bytes`
bytes.
"""


def page() -> str:
    """Return the text of the page."""
    return _HEAD + "".join(_section("", ServerSettings))


def _section(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """Yield one table of the model's own settings, then a section for each of the models within it."""
    nested = {name: found for name, field in model.model_fields.items() if (found := _model_of(field)) is not None}
    yield "\n| setting | default | what it means |\n|---|---|---|\n"
    for name, field in model.model_fields.items():
        if name not in nested:
            yield f"| `{prefix}{name}` | {_default(field.default)} | {_text(field)} |\n"
    for name, inner in nested.items():
        yield f"\n## `{prefix}{name}`\n\n{_text(model.model_fields[name])}\n"
        yield from _section(f"{prefix}{name}.", inner)


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    candidates = (field.annotation, *get_args(field.annotation))
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _text(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|")


def _default(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and value >= 100_000 else f"`{value}`"


if __name__ == "__main__":
    print(page(), end="")
