"""Fills the settings: flags before environment before a TOML file before defaults."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tomli_w
from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from server.settings import ServerSettings


class CommandLine(BaseSettings, ServerSettings):
    """Serve live sentiment over gRPC, and KServe v2 for batch clients on the same port.

    Every option can also stand in a TOML file (--config) and in the environment: limits.max_sessions is
    MOODSTREAM_LIMITS__MAX_SESSIONS there. Exit codes: 0 stopped by a signal, 1 could not start, 2 wrong settings.
    """

    model_config = SettingsConfigDict(
        env_prefix="MOODSTREAM_",
        env_nested_delimiter="__",
        cli_prog_name="python -m server",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    config: Path | None = None
    """TOML file with settings."""
    print_config: bool = False
    """Print the settings in effect as TOML, and exit."""
    verbose: bool = False
    """Log what Triton and the sessions do."""

    toml: ClassVar[Path | None] = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources, the strongest first; pydantic puts the flags before them."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, cls.toml)

    def to_toml(self) -> str:
        """Return the settings in effect. They hold no secrets, only the names of files with secrets."""
        return tomli_w.dumps(_without_none(self.model_dump(mode="json", exclude={"config", "print_config", "verbose"})))


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> CommandLine:
    """Return the settings; prints what is wrong with them and ends with SystemExit(2) when they can't be used."""
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--config", default=environment.get("MOODSTREAM_CONFIG"))
    config = early.parse_known_args(arguments)[0].config

    class Loaded(CommandLine):
        toml = None if config is None else Path(config)

    Loaded.__doc__ = CommandLine.__doc__
    try:
        if config is not None and not Path(config).is_file():
            raise SettingsError(f"config {config} is not a file")
        return Loaded(_cli_parse_args=list(arguments))  # type: ignore[call-arg] # an argument of BaseSettings
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False):
            where = ".".join(map(str, problem["loc"]))
            said = problem["msg"].removeprefix("Value error, ")
            print(f"moodstream: {where}{': ' if where else ''}{said}", file=sys.stderr)
    except (SettingsError, OSError, ValueError) as error:
        print(f"moodstream: {error}", file=sys.stderr)
    raise SystemExit(2)


def _without_none(value: Any) -> Any:
    """TOML has no null: what is not set is left out."""
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return value
