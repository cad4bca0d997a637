"""`autoencoder-service settings`."""

import json
from pathlib import Path

import pytest

from service import settings
from service.cli.main import main
from service.settings import Settings


def test_every_setting_is_listed_with_what_is_in_force_and_from_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    settings.DEFAULT_FILE.write_text("tile = 256\nport = 9\n")
    monkeypatch.setenv("AUTOENCODER_PORT", "10")
    assert main(["settings", "--host", "0.0.0.0", "--json"]) == 0
    knobs = {knob["name"]: knob for knob in json.loads(capsys.readouterr().out)}
    assert list(knobs) == list(Settings.model_fields)
    origins = {name: (knob["value"], knob["origin"]) for name, knob in knobs.items()}
    assert origins["host"] == ("0.0.0.0", "command line")
    assert origins["port"] == (10, "environment")
    assert origins["tile"] == (256, "autoencoder-service.toml")
    assert origins["drain"] == (5, "default")
    ranges = {name: knob["range"] for name, knob in knobs.items()}
    assert ranges["port"] == "0 to 65535"
    assert ranges["max_deadline"] == "above 0, up to 86400"
    assert ranges["precision"] == "auto | fp32 | int8 | bf16"
    assert ranges["require_provider"] == "true | false"
    assert all(knob["description"] and knob["range"] for knob in knobs.values())
    assert main(["settings"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(knobs)
    tile = next(line for line in lines if line.startswith("AUTOENCODER_TILE"))
    assert tile.split()[:5] == ["AUTOENCODER_TILE", "tile", "256", "autoencoder-service.toml", "512"]
    assert tile.index("pixels along a side") == heading.index("meaning")
