"""Settings: command line, environment, settings file, ranges."""

import os
import re
import threading
import time
from pathlib import Path

import pytest

from service import settings
from service.cli.main import main
from service.settings import SettingsError, load


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("AUTOENCODER_PROT", "1", "AUTOENCODER_PROT is not a setting; did you mean AUTOENCODER_PORT?"),
        ("AUTOENCODER_1", "1", "AUTOENCODER_1 is not a setting"),
        ("AUTOENCODER_PORT", "70000", "AUTOENCODER_PORT=70000 is refused (port to listen on"),
        ("AUTOENCODER_MODELS", "/does/not/exist", "must be a folder that exists"),
        ("AUTOENCODER_MAX_INSIDE_PIXELS", "5", "must be at least that"),
        ("AUTOENCODER_MAX_INSIDE_BYTES", "5000", "or the largest body never fits"),
        ("AUTOENCODER_TILE", "63", "AUTOENCODER_TILE=63 is refused (pixels along a side of the tiles"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    models: Path,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    sentence: str,
) -> None:
    monkeypatch.setenv("AUTOENCODER_MODELS", str(models))
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError):
        settings.load()
    assert main(["models"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_variables_of_training_and_of_the_client_do_not_stop_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People export them once, for all commands of a shell."""
    sources = [path.read_text() for path in (Path(__file__).parents[2] / "training").rglob("*.py")]
    variables = set(re.findall(r"AUTOENCODER_[A-Z]+", "".join(sources))) | {"AUTOENCODER_KEY"}
    assert {"AUTOENCODER_DATA", "AUTOENCODER_CACHE"} <= variables
    monkeypatch.setenv("AUTOENCODER_MODELS", str(tmp_path))
    for variable in variables - {"AUTOENCODER_MODELS"}:
        monkeypatch.setenv(variable, "of another program")
    assert load().models == tmp_path


def test_the_settings_file_is_below_the_environment_and_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert settings.load().tile == 512
    settings.DEFAULT_FILE.write_text("tile = 256\nport = 9\nmax_batch = 7\n")
    monkeypatch.setenv("AUTOENCODER_PORT", "10")
    loaded_settings = settings.load(max_batch=8)
    assert (loaded_settings.tile, loaded_settings.port, loaded_settings.max_batch) == (256, 10, 8)
    other_file = tmp_path / "other.toml"
    other_file.write_text("tile = 128\n")
    monkeypatch.setenv("AUTOENCODER_SETTINGS", str(other_file))
    assert settings.load().tile == 128


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tyle = 3", r"autoencoder-service\.toml: tyle is not a setting; did you mean tile\?"),
        ("tile = 3", r"autoencoder-service\.toml: tile = 3 is refused \(pixels along a side"),
        ('tile = "256"', r'tile = "256" is refused: it is text, not a whole number'),
        ("tile = true", r"tile = true is refused: it is true or false, not a whole number"),
        ("tile = 256.0", r"tile = 256\.0 is refused: it is a number, not a whole number"),
        ("require_provider = 1", r"require_provider = 1 is refused: it is a whole number, not true or false"),
        ("host = 2026-01-01", r'host = "2026-01-01" is refused: it is a date, not text'),
        ("[port]\nhttp = 80", r'port = \{"http": 80\} is refused: it is a table, not a whole number'),
        ("deadline = nan", r"deadline = nan is refused"),
        ("tile = [1]", r"tile = \[1\] is refused"),
        ("tile = ", r"the settings file autoencoder-service\.toml cannot be read"),
    ],
)
def test_a_wrong_settings_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    settings.DEFAULT_FILE.write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        settings.load()
    monkeypatch.setenv("AUTOENCODER_SETTINGS", "nowhere.toml")
    with pytest.raises(SettingsError, match=r"AUTOENCODER_SETTINGS=nowhere\.toml does not exist"):
        settings.load()


def test_a_settings_file_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(settings, "write_whole", refuse)
    with pytest.raises(SettingsError, match="cannot be written: Read-only file system"):
        settings.write_file({"tile": 256})


@pytest.mark.parametrize("path", ["pipe", "/dev/zero", "/dev/null", "folder"])
def test_a_settings_file_that_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    monkeypatch.setenv("AUTOENCODER_SETTINGS", path)
    start = time.monotonic()
    with pytest.raises(SettingsError, match=r"the settings file .* cannot be read: (it is a pipe|Is a directory)"):
        settings.read_file()
    assert time.monotonic() - start < 5


def test_a_settings_file_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(1 << 32)
    monkeypatch.setenv("AUTOENCODER_SETTINGS", str(tmp_path / "large.toml"))
    with pytest.raises(SettingsError, match="it is larger than 1048576 bytes"):
        settings.read_file()


@pytest.mark.parametrize("hung", ["settings", "models"])
def test_a_file_system_that_does_not_answer_ends_the_start_with_a_sentence(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hung: str
) -> None:
    event = threading.Event()
    monkeypatch.setattr(settings, "READ_SECONDS", 0.2)
    if hung == "settings":
        monkeypatch.setenv("AUTOENCODER_SETTINGS", str(tmp_path / "hung.toml"))
        monkeypatch.setattr(settings, "read_regular", lambda *_: event.wait(30))
    else:
        monkeypatch.setattr(Path, "is_dir", lambda _: event.wait(30))
    with pytest.raises(SettingsError, match=r"the file system did not answer within 0\.2 s"):
        load(models=models)
    event.set()


def test_what_is_no_origin_is_refused(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOENCODER_CORS_ORIGINS", "https://a.example,b.example/x")
    with pytest.raises(SettingsError, match=r"b\.example/x"):
        load(models=models)
    monkeypatch.setenv("AUTOENCODER_CORS_ORIGINS", "https://a.example,http://b.example:81")
    assert load(models=models).cors_origins == ("https://a.example", "http://b.example:81")
