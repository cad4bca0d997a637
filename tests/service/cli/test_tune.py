"""`autoencoder-service tune`."""

from pathlib import Path

import pytest

from service import settings
from service.cli import tune
from service.cli.main import main
from tests.service import packages as doubles


def test_tune_measures_and_writes_what_serve_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tune, "SIDE", 96)
    monkeypatch.setattr(tune, "TILES", (64, 96))
    (tmp_path / "models").mkdir()
    assert main(["tune"]) == 2
    assert "holds no model of images of any size" in capsys.readouterr().err
    doubles.write_denoisers(tmp_path / "models")
    settings.DEFAULT_FILE.write_text('host = "0.0.0.0"\ntile = 4096\n')
    assert main(["tune"]) == 0
    loaded = settings.load()
    assert loaded.host == "0.0.0.0"  # what tune does not measure stays
    assert loaded.tile in (64, 96)
    assert f"best: workers = {loaded.workers}, tile = {loaded.tile}" in capsys.readouterr().out
