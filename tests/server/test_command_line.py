from pathlib import Path

import pytest

from server.command_line import read_settings
from server.settings import ServerSettings

OPEN = ["--host", "0.0.0.0"]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOODSTREAM_CONFIG", "MOODSTREAM_PORT", "MOODSTREAM_LIMITS__MAX_SESSIONS"):
        monkeypatch.delenv(name, raising=False)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        read_settings(arguments, {})
    assert end.value.code == 2
    return capsys.readouterr().err


def test_without_anything_the_defaults_hold():
    settings = read_settings([], {})
    assert settings.model_dump(exclude={"config", "print_config", "verbose"}) == ServerSettings().model_dump()


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "server.toml"
    file.write_text("port = 1\nhost = '::1'\n[limits]\nmax_sessions = 1\nmax_clips = 1\n")
    monkeypatch.setenv("MOODSTREAM_PORT", "2")
    monkeypatch.setenv("MOODSTREAM_LIMITS__MAX_SESSIONS", "2")
    settings = read_settings(["--config", str(file), "--limits.max-sessions", "3"], {})
    assert (settings.host, settings.port) == ("::1", 2)
    assert (settings.limits.max_sessions, settings.limits.max_clips) == (3, 1)


def test_what_is_printed_can_be_read_again(tmp_path: Path):
    settings = read_settings([*OPEN, "--insecure", "--limits.idle-timeout-s", "0.5"], {})
    file = tmp_path / "server.toml"
    file.write_text(settings.to_toml())
    assert read_settings(["--config", str(file)], {}).to_toml() == settings.to_toml()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limits.max-sessions", "0"], "limits.max_sessions: "),
        (["--port", "70000"], "port: "),
        (["--config", "nowhere.toml"], "nowhere.toml"),
        (["--no-such-flag"], "no-such-flag"),
    ],
)
def test_a_wrong_setting_is_named(capsys, arguments, said):
    assert said in refused(capsys, *arguments)


@pytest.mark.parametrize("text", ["prot = 1", "[limits]\nmax_session = 1", "port ="])
def test_a_key_that_nobody_knows_is_an_error(capsys, tmp_path: Path, text):
    file = tmp_path / "server.toml"
    file.write_text(text)
    assert "moodstream: " in refused(capsys, "--config", str(file))


def test_an_empty_token_is_refused(capsys, tmp_path: Path):
    file = tmp_path / "token"
    file.write_text(" \n")
    assert "is empty" in refused(capsys, "--token-file", str(file))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "192.168.1.7", "example.org"])
def test_an_address_that_others_reach_needs_authentication(capsys, tmp_path: Path, host):
    assert "nothing says who may come in" in refused(capsys, "--host", host)
    file = tmp_path / "token"
    file.write_text("secret")
    assert read_settings(["--host", host, "--token-file", str(file)], {}).authenticates
    assert read_settings(["--host", host, "--insecure"], {}).insecure


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_needs_none(host):
    assert read_settings(["--host", host], {}).host == host
